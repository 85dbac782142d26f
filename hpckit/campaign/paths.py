"""Where a campaign reads and where it writes: never the same place, nor one within the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpckit.base.files import outermost
from hpckit.campaign.campaign import Campaign
from hpckit.errors import CampaignError

Relation = Literal["is", "lies within", "holds"]


@dataclass(frozen=True, slots=True)
class Place:
    """A path of a campaign."""

    field: str
    """Where the campaign file says it."""
    path: Path
    remedy: str = ""
    products: bool = False
    """A folder that is searched for products."""
    step: bool = False
    """A folder that steps write into: what they make may be the campaign's products."""


@dataclass(frozen=True, slots=True)
class Clash:
    """An output that would be written where something else is."""

    field: str
    text: str
    remedy: str


def require_apart(campaign: Campaign) -> None:
    """Refuse a campaign that would write over, into or around what it reads.

    Raises
    ------
    CampaignError
        Names both fields and the paths.
    """
    for clash in clashes(campaign):
        raise CampaignError(f"{campaign.path}: {clash.field}: {clash.text}", hint=clash.remedy)


def require_beside(campaign: Campaign, folder: Path, field: str) -> None:
    """Refuse a folder for copies of products that is, holds or lies within what the campaign reads or writes.

    Raises
    ------
    CampaignError
        Names both.
    """
    place, home = Place(field, folder, "give it a folder of its own"), Path(os.path.realpath(campaign.folder))
    for other in (*_inputs(campaign), *_outputs(campaign)):
        relation = _relation(folder, other.path)
        if relation is not None and not _may_be(relation, place, other, home):
            clash = _clash(place, relation, other)
            raise CampaignError(f"{campaign.path}: {clash.field}: {clash.text}", hint=clash.remedy)


def clashes(campaign: Campaign) -> Iterator[Clash]:
    """Outputs of a campaign that are, hold or lie within an input or another output."""
    inputs, outputs = list(_inputs(campaign)), list(_outputs(campaign))
    home = Path(os.path.realpath(campaign.folder))
    for output in outputs:
        for place in inputs:
            relation = _relation(output.path, place.path)
            if relation is not None and not _may_be(relation, output, place, home):
                yield _clash(output, relation, place)
    for number, output in enumerate(outputs):
        for other in outputs[number + 1 :]:
            relation = _relation(output.path, other.path)
            if relation is not None and not ((output.step or other.step) and relation != "is"):
                yield _clash(output, relation, other)


def _clash(output: Place, relation: Relation, other: Place) -> Clash:
    return Clash(output.field, f"{output.path} {relation} {other.field} ({other.path})", output.remedy)


def _inputs(campaign: Campaign) -> Iterator[Place]:
    yield Place("the campaign file", campaign.path)
    yield from _of_steps(campaign)
    if campaign.aoi_path is not None and _exists(campaign.aoi_path):
        yield Place("aoi", campaign.aoi_path)
    for path in campaign.scenes.folders:
        yield Place("scenes.paths", campaign.resolve(path), products=True)
    for reduction in campaign.signatures:
        yield Place(f"reductions.{reduction.name}.zones", campaign.resolve(reduction.zones))
    for graph in campaign.graphs:
        for field, path in graph.files().items():
            yield Place(f"reductions.{graph.name}.{field}", campaign.resolve(path))
    for name, value in campaign.scenes.options.files().items():
        yield Place(f"scenes.{campaign.sensor.option}.{name}", campaign.resolve(value))


def _of_steps(campaign: Campaign) -> Iterator[Place]:
    for step in campaign.steps:
        for path in step.scenes.folders if step.scenes is not None else ():
            yield Place(f"steps.{step.name}.scenes.paths", campaign.resolve(path), products=True)
        for name, text in step.inputs.items():
            known = text.replace("{folder}", str(campaign.folder))
            if "{" not in known:
                yield Place(f"steps.{step.name}.inputs.{name}", campaign.resolve(Path(known)))


def _outputs(campaign: Campaign) -> Iterator[Place]:
    yield Place("name", campaign.run_dir, "give the campaign another `name`, which its run directory has too")
    if campaign.cube.keep:
        yield Place("cube.path", campaign.cube_path, "give `cube.path` another name")
    if campaign.signatures and campaign.store.is_file:
        yield Place("store.path", campaign.store_path, "give `store.path` a name that no input has")
    for reduction in campaign.of_pixels:
        field, remedy = f"reductions.{reduction.name}.outputs.path", "give `outputs.path` another folder"
        folder = campaign.resolve(reduction.outputs.path)
        yield Place(field, folder / f"{reduction.name}.zarr", remedy)
        yield Place(field, folder / reduction.name, remedy)
    for step in campaign.steps:
        remedy = "give the step's `into` another folder"
        yield Place(f"steps.{step.name}.into", campaign.resolve(step.folder), remedy, step=True)


def _may_be(relation: Relation, output: Place, place: Place, home: Path) -> bool:
    """Whether two places may stand so to each other."""
    if relation == "holds":
        return output.step
    if not place.products:
        return False
    if output.step:
        return not _in_product(output.path, place.path)
    # Who searches the campaign's own folder for products has outputs within it; they are no products.
    around = home.is_relative_to(os.path.realpath(place.path))
    return relation == "lies within" and around and not _in_product(output.path, place.path)


def _in_product(path: Path, folder: Path) -> bool:
    """Whether a path is or lies within a product."""
    real, top = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    between = [part for part in (real, *real.parents) if part.is_relative_to(top)]
    return any(part.suffix.upper() == ".SAFE" or part.is_file() for part in between)


def _relation(one: Path, other: Path) -> Relation | None:
    first, second = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    if first == second or _is_same(first, second):
        return "is"
    if first.is_relative_to(second):
        return "lies within"
    return "holds" if second.is_relative_to(first) else None


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths are one file: hard links, or names that differ in case where the file system makes none."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False  # WKT is no path


def folders_of(campaign: Campaign, run: Path) -> list[Path]:
    """Folders that a campaign reads and writes; none within another. Links are followed to where they lead."""
    named = [run, campaign.folder, campaign.cube_path.parent, *map(campaign.resolve, campaign.scenes.folders)]
    named += [campaign.resolve(reduction.zones).parent for reduction in campaign.signatures]
    named += [campaign.resolve(reduction.outputs.path) for reduction in campaign.of_pixels]
    named += [campaign.resolve(path).parent for graph in campaign.graphs for path in graph.collections.values()]
    for step in campaign.steps:
        named += [campaign.resolve(step.folder), *map(campaign.resolve, step.scenes.folders if step.scenes else ())]
        named += [campaign.resolve(Path(text.partition("{")[0])).parent for text in step.inputs.values()]
    named += [campaign.store_path.parent] if campaign.store.is_file else []
    named += [campaign.fetched_path] if campaign.fetched_path.is_dir() else []
    both = {path for item in named for path in (item, item.resolve())}
    found = sorted(path if path.is_dir() or not path.suffix else path.parent for path in both)
    return outermost(found)
