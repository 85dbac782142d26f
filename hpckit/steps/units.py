"""Units of steps: one for each product or tile, and which of them are done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final

from hpckit.base.files import digest, digest_json
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.outputs import Listing
from hpckit.campaign.stages import is_step
from hpckit.campaign.step import Step
from hpckit.campaign.words import PATHS, expand, words_in
from hpckit.catalogue import catalogue
from hpckit.catalogue.selection import find, fitting, misfit
from hpckit.cubes.stage import Planning
from hpckit.cubes.tiles import Tiles
from hpckit.errors import CatalogueError, PlanError
from hpckit.runs.journal import Entry, outcomes
from hpckit.runs.plan import Unit, tiles_of
from hpckit.runs.run import Run
from hpckit.sensors.model import Scene
from hpckit.sensors.registry import sensor_of
from hpckit.sites.image.sif import read_header

_VERSION: Final = 1
"""Grows when the same command and inputs give other outputs."""
_READ_WHOLE: Final = 64 * 2**20
"""Inputs up to this number of bytes count by their content, larger ones by size and time."""
_FEW: Final = 3

Described = tuple[str, list[str], dict[str, str], str]
"""Name, tiles, words and content of a product; a tile's content is that of the units it waits for."""


def scan_products(run: Run, progress: Callable[[int, int], None]) -> list[catalogue.Failure]:
    """Find what steps make products from, and write one catalogue for each of them to the run directory.

    Raises
    ------
    CatalogueError
        If there is nothing to make products from.
    """
    failures: list[catalogue.Failure] = []
    for step in run.campaign.steps:
        make_folder(run, step)  # also where products are looked for, or binds lead to
    for step in run.campaign.steps:
        if step.scenes is None:
            continue
        paths = [run.campaign.resolve(path) for path in step.scenes.folders]
        found_before = run.path / "steps" / f"{step.name}.found.parquet"
        report = find(run.campaign, step.scenes, found_before, progress)
        failures += report.failures
        if not report.scenes and _catalogue(run, step).exists():
            continue  # removed to save space; what was made from them counts
        if report.scenes:
            catalogue.write(
                found_before,
                [*report.scenes, *report.kept],
                step.scenes.items,
                stamps=report.stamps,
                like=[found_before],
            )
        chosen, dropped = fitting(run.campaign, report.scenes, step.scenes)
        if not chosen:
            why, remedy = misfit(dropped, f"steps.{step.name}.")
            raise CatalogueError(
                f"{run.campaign.path}: step {step.name}: no product below {', '.join(map(str, paths))} fits the "
                f"campaign ({why})",
                hint=remedy,
            )
        selected = _catalogue(run, step)
        catalogue.write(selected, chosen, step.scenes.items, stamps=report.stamps, like=[selected])
    return failures


def product_units(run: Run, step: Step, entries: Iterable[Entry]) -> list[Unit]:
    """Units of a step that makes products, from its catalogue; their durations come from earlier entries."""
    scenes = catalogue.read(_catalogue(run, step))
    return list(_units(run, step, _of_scenes(scenes), {}, _measured(run, entries)))


def units(planning: Planning, step: Step) -> list[Unit]:
    """Units of any other step: each depends on those of its tile, or product, in the stage that it waits for."""
    tiles = planning.tiles
    words = _of_tiles(tiles) if step.each == "tile" else _of_scenes(_used(tiles))
    upstream = _upstream(step, step.waits_for(tiles.campaign.extensions), planning.units)
    seconds = _measured(tiles.run, planning.entries)
    return list(_units(tiles.run, step, words, upstream, seconds, planning.pending))


def pending(run: Run, entries: Iterable[Entry], units: Sequence[Unit]) -> tuple[frozenset[str], frozenset[str]]:
    """Ids of units that remain to be done, and of those among them that failed when they were tried."""
    known = outcomes(entries, {unit.id: unit.inputs for unit in units}) if units else {}
    left, failed, listing = set(), set(), Listing()
    for unit in units:
        entry: Entry | None = known.get(unit.id)
        if entry is None or entry.state != "done" or not _is_there(run, unit, listing):
            left.add(unit.id)
        if entry is not None and entry.state == "failed":
            failed.add(unit.id)
    return frozenset(left), frozenset(failed)


def unit_settings(campaign: Campaign, step: Step) -> list[object]:
    """What all units of a step depend on.

    Raises
    ------
    ImageError, PlanError
        If its image, or an input that is the same for all units, is not there.
    """
    marks = [_image_mark(campaign, step), _fixed(campaign, step)]
    return [_VERSION, step.command, step.outputs, step.environment, *marks]


def into(run: Run, step: Step) -> Path:
    """Absolute path of the folder of a step's outputs."""
    return run.campaign.resolve(step.folder)


def make_folder(run: Run, step: Step) -> None:
    """Make the folder of a step's outputs.

    Raises
    ------
    PlanError
        If it cannot be made.
    """
    try:
        into(run, step).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlanError(
            f"{run.campaign.path}: step {step.name}: its outputs cannot be written to {into(run, step)}: "
            f"{error.strerror}",
            hint="correct `into`, or the permissions of the folder",
        ) from None


def _catalogue(run: Run, step: Step) -> Path:
    return run.path / "steps" / f"{step.name}.parquet"


def _measured(run: Run, entries: Iterable[Entry]) -> dict[str, float]:
    """Mean seconds of the units of each step that are done."""
    spent: dict[str, list[float]] = defaultdict(list)
    for entry in entries if run.campaign.steps else ():
        if entry.state == "done" and run.campaign.step(entry.stage) is not None:
            spent[entry.stage].append(entry.seconds)
    return {stage: sum(times) / len(times) for stage, times in spent.items()}


def _of_scenes(scenes: Iterable[Scene]) -> Iterator[Described]:
    """Each product, once."""
    for scene in sorted({scene.id: scene for scene in scenes}.values(), key=lambda scene: scene.id):
        sensor = sensor_of(scene)
        tile = scene.tile if sensor.has_tiles else ""
        yield (
            scene.id,
            [tile] if tile else [],
            {
                "scene": scene.href,
                "id": scene.id,
                "platform": scene.platform,
                "level": scene.level,
                "tile": tile,
                "start": sensor.start(scene),
                "date": f"{scene.sensed:%Y-%m-%d}",
                "relative_orbit": str(scene.relative_orbit),
            },
            scene.content,
        )


def _of_tiles(tiles: Tiles) -> Iterator[Described]:
    for tile in sorted(tiles.acquisitions):
        frame = tiles.frame(tile)
        west, south, east, north = (f"{value:.12g}" for value in frame.bounds)
        words = {"tile": tile, "cube": str(tiles.spec.path), "epsg": str(frame.epsg)}
        yield tile, [tile], words | {"west": west, "south": south, "east": east, "north": north}, ""


def _used(tiles: Tiles) -> Iterator[Scene]:
    return (scene for items in tiles.acquisitions.values() for item in items for scene in item.scenes)


def _upstream(step: Step, stage: str | None, before: Iterable[Unit]) -> dict[str, list[Unit]]:
    """Units that each tile, or product, waits for."""
    found: dict[str, list[Unit]] = defaultdict(list)
    for unit in before:
        if unit.stage == stage:
            for key in tiles_of(unit) if step.each == "tile" else [unit.id.rpartition("/")[2]]:
                found[key].append(unit)
    return found


def _units(
    run: Run,
    step: Step,
    described: Iterable[Described],
    upstream: Mapping[str, list[Unit]],
    seconds: Mapping[str, float],
    undone: AbstractSet[str] = frozenset(),
) -> Iterator[Unit]:
    settings, folder = digest_json(unit_settings(run.campaign, step)), str(into(run, step))
    owner: dict[str, str] = {}
    for name, tiles, words, content in described:
        for text in step.outputs.values():
            path = expand(text, words)
            if f"{folder}/{path}" == words.get("scene"):
                raise PlanError(
                    f"{run.campaign.path}: step {step.name}: output {text} would replace the product "
                    f"{folder}/{path}, which it is made from",
                    hint="write `into` another folder",
                )
            if owner.setdefault(path, name) != name:
                raise PlanError(
                    f"{run.campaign.path}: step {step.name}: {owner[path]} and {name} would both write {path}",
                    hint=f"put {{{'id' if step.each == 'scene' else 'tile'}}} into the name of each output",
                )
        plain = {key: value for key, value in words.items() if key not in PATHS}
        before = upstream.get(name, ())
        made_of = [settings, plain, sorted(unit.inputs for unit in before), *([content] if content else [])]
        inputs = digest_json(made_of)[:16]
        args: dict[str, Any] = {"step": step.name, "tiles": tiles, "words": words}
        if step.waits_for(run.campaign.extensions) != "ingest":  # the manifest shows whether a cube is complete
            args["waits"] = [(unit.id, unit.inputs) for unit in before if is_step(unit.stage) or unit.id in undone]
        yield Unit(f"exec/{step.name}/{name}", step.stage, seconds.get(step.stage, step.seconds), inputs, args)


def _image_mark(campaign: Campaign, step: Step) -> str:
    """What identifies an image: of a SIF file its id, time and size.

    Raises
    ------
    ImageError
        If it is a file that is not there, or damaged.
    """
    if step.image is None or "://" in step.image:
        return step.image or ""
    path = campaign.resolve(Path(step.image))
    if path.is_dir():
        return str(path)
    header = read_header(path)
    return f"{header.id} {header.created} {header.size}"


def _fixed(campaign: Campaign, step: Step) -> dict[str, str]:
    """Digests of the inputs that are the same for all units.

    Raises
    ------
    PlanError
        If one is not there.
    """
    found = {}
    for name, text in step.inputs.items():
        if set(words_in(text)) - {"folder"}:
            continue  # of each unit its own: it depends on what the step waits for, and is looked for by the unit
        path = campaign.resolve(Path(expand(text, {"folder": str(campaign.folder)})))
        if not path.exists():
            raise PlanError(
                f"{campaign.path}: step {step.name}: input {name} is not there: {path}",
                hint="correct its path; it is relative to the campaign file",
            )
        found[name] = _content(path)
    return found


def _content(path: Path) -> str:
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file())
        return digest_json(sorted((str(file.relative_to(path)), _content(file)) for file in files))
    status = path.stat()
    if status.st_size > _READ_WHOLE:
        return f"{status.st_size} {status.st_mtime_ns}"
    return digest(path.read_bytes())


def _is_there(run: Run, unit: Unit, listing: Listing) -> bool:
    """Whether all outputs of a unit are where they belong."""
    step = run.campaign.step(unit.stage)
    if step is None:
        return False
    folder, words = into(run, step), unit.args["words"]
    return all(any(listing.find(folder, text, words)) for text in step.outputs.values())
