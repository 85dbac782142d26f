"""Find the inputs of a crate on this machine: products by their names, other files by their fields."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from hpckit.base.files import digest_file
from hpckit.base.quantities import format_count
from hpckit.errors import CrateError
from hpckit.inputs.uri import is_remote
from hpckit.production.provenance.crate import INPUTS, RUN, Crate
from hpckit.production.provenance.inputs import Loaded, OtherFile, Product
from hpckit.production.provenance.places import placed

_ENDINGS: Final = (".zip", ".SAFE", ".safe")
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Given:
    """Where the inputs of a crate are, as somebody says."""

    products: Sequence[Path] = ()
    """Folders that are searched for products and files at any depth."""
    at: Mapping[str, Path] = field(default_factory=dict)
    """Files and campaigns by the field that names them."""


@dataclass(frozen=True, slots=True)
class Found:
    """Inputs of a crate, found."""

    products: tuple[str, ...]
    """Paths and addresses for `scenes.paths`."""
    fields: Mapping[str, Path]
    """Files and campaigns by field."""


def wanted(crate: Crate) -> tuple[list[Product], list[OtherFile], dict[str, str]]:
    """Products, other files and campaigns that a crate names.

    Raises
    ------
    CrateError
        If it does not say them.
    """
    document = crate.document(INPUTS)
    try:
        products = [Product(**{key: str(value) for key, value in item.items()}) for item in document["products"]]
        others = [OtherFile(**{key: str(value) for key, value in item.items()}) for item in document["files"]]
        return products, others, {str(name): str(place) for name, place in document["campaigns"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise CrateError(f"{crate.path}: {INPUTS} does not fit this version of hpckit") from error


def find(crate: Crate, given: Given) -> Found:
    """Find all inputs of a crate.

    Raises
    ------
    CrateError
        Names those that are not there, or are others.
    """
    products, others, campaigns = wanted(crate)
    named = {_stem(product.place) for product in products} | {other.name for other in others}
    seen = _search(given.products, named)
    folders = [crate.path.absolute().parent, Path(placed(str(crate.document(RUN).get("folder", ".")), Path("/")))]
    places = {product.place: _place(product.place, seen, folders) for product in products}
    missing = sorted({PurePosixPath(place).name for place, where in places.items() if where is None})
    if missing:
        names = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
        raise CrateError(
            f"{crate.path}: {format_count(len(missing), 'product')} not found: {names}",
            hint="say with --products in which folders they are",
        )
    fields = {other.field: _other(crate, other, given, seen, folders) for other in others}
    fields |= {name: _campaign(crate, name, place, given, folders) for name, place in campaigns.items()}
    return Found(tuple(dict.fromkeys(where for where in places.values() if where is not None)), fields)


def _place(place: str, seen: Mapping[str, Path], folders: Iterable[Path]) -> str | None:
    """Where a product is: where somebody says, else where it lay."""
    if is_remote(place):
        return place
    if _stem(place) in seen:
        return str(seen[_stem(place)])
    return next((where for where in _lay(place, folders) if os.path.exists(where)), None)  # noqa: PTH110


def _lay(place: str, folders: Iterable[Path]) -> Iterator[str]:
    yield from (placed(place, folder) for folder in folders)


def _stem(place: str) -> str:
    """Name of a product however it is packed."""
    name = PurePosixPath(place).name
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name


def _search(folders: Iterable[Path], names: set[str]) -> dict[str, Path]:
    """First file or folder of each name; folders that are products are not entered."""
    found: dict[str, Path] = {}
    for top in folders:
        if not top.exists():
            raise CrateError(f"{top}: no such folder", hint="correct --products")
        if _stem(top.name) in names:
            found.setdefault(_stem(top.name), top.absolute())
            continue
        for folder, subfolders, files in os.walk(top, followlinks=True):
            for name in sorted([*subfolders, *files]):
                if _stem(name) in names:
                    found.setdefault(_stem(name), Path(folder).absolute() / name)
            subfolders[:] = [name for name in subfolders if _stem(name) not in names and not name.endswith(".SAFE")]
    return found


def _other(crate: Crate, other: OtherFile, given: Given, seen: Mapping[str, Path], folders: Iterable[Path]) -> Path:
    """A file by its field, its name or its place, with the digest that it had."""
    where = given.at.get(other.field) or seen.get(_stem(other.name))
    candidates = [where] if where is not None else [Path(text) for text in _lay(other.place, folders)]
    path = next((each for each in candidates if each.is_file()), None)
    if path is None:
        raise CrateError(f"{crate.path}: {other.field}: no file {other.name}", hint=_say(other.field))
    # Of options of a sensor the plan compares the digest, as it froze it.
    if other.field.startswith("reductions.") and digest_file(path) != other.digest:
        raise CrateError(f"{path}: not the file that the run used as {other.field}", hint=_say(other.field))
    return path.absolute()


def _campaign(crate: Crate, name: str, place: str, given: Given, folders: Iterable[Path]) -> Path:
    candidates = [given.at[name]] if name in given.at else [Path(text) for text in _lay(place, folders)]
    path = next((each for each in candidates if each.exists()), None)
    if path is None:
        raise CrateError(f"{crate.path}: {name}: no campaign at {place}", hint=_say(name))
    return path.absolute()


def _say(field: str) -> str:
    return f"say where it is with --at {field}=PATH"


def differences(crate: Crate, now: Sequence[Product], contents: Mapping[str, Any]) -> list[str]:
    """What a plan would compute from and the crate has otherwise, a sentence for each.

    Parameters
    ----------
    now : sequence of Product
        That the plan has chosen.
    contents : mapping
        Digests of files of options, as the plan froze them.
    """
    products, others, _ = wanted(crate)
    before, after = {item.id: item for item in products}, {item.id: item for item in now}
    found = [f"product {name} is not used" for name in before.keys() - after.keys()]
    found += [f"product {name} is used, and was not" for name in after.keys() - before.keys()]
    for name in before.keys() & after.keys():
        if before[name].digest != after[name].digest:
            found.append(
                f"product {name} holds something else: digest {after[name].digest}, not {before[name].digest}"
            )
    for other in others:
        option = other.field.rpartition(".")[2]
        if other.field.startswith("scenes.") and str(contents.get(option, "")) != other.digest:
            found.append(f"{other.field} is another file")
    return sorted(found)


def of_servers(crate: Crate, now: Iterable[Loaded]) -> list[str]:
    """What graphs load from servers and the crate has otherwise, a sentence for each address.

    Crates of earlier versions do not say it, so nothing is compared with them.
    """
    document = crate.document(INPUTS)
    if "loaded" not in document:
        return []
    try:
        before = _by_address(document["loaded"])
    except (KeyError, TypeError, AttributeError) as error:
        raise CrateError(f"{crate.path}: {INPUTS} does not fit this version of hpckit") from error
    after = _by_address(asdict(item) for item in now)
    found = []
    for address in sorted(before.keys() | after.keys()):
        reduction, process, place = address
        old, new = before.get(address, {}), after.get(address, {})
        if old != new:
            names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name) and name)
            which = f", {names[0]} for example" if names else ""
            found.append(f"{reduction}: {process} of {place} gives something else{which}")
    return found


def _by_address(items: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], dict[str, str]]:
    """Digests of what was loaded, by product; of geometries, and of a catalogue as a whole, without a name."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for item in items:
        known = found.setdefault((item["field"], item["process"], item["place"]), {})
        known[""] = " ".join(sorted([*known.get("", "").split(), item["digest"]]))
        known |= {product["id"]: product["digest"] for product in item["products"]}
    return found
