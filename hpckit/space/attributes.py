"""Attributes of zones: what a layer says of them beside identifier and polygon, under names that tables can bear."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

from hpckit.base.quantities import format_count
from hpckit.errors import ZoneError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from hpckit.space.vector.features import Features

MOST: Final = 1000
"""Attributes of a layer, so that tables of stores have room for the bands beside them."""
_MOST_BYTES: Final = 63
"""Of a name, in UTF-8: PostgreSQL cuts longer ones."""
_RESERVED: Final = frozenset(
    """
    fid ogc_fid rowid oid _rowid_ geom geometry id zone reduction time band valid total valid_fraction observed
    observation acquisition platform level tile baseline relative_orbit cloud_cover run_id mean std min max
    """.split()  # noqa: SIM905
)
_PERCENTILE: Final = re.compile(r"p\d+(\.\d+)?", re.IGNORECASE)
_LONGEST: Final = 40
"""Characters of a value in a title."""
_LONGEST_TITLE: Final = 60
"""Characters of all values in a title, which pictures have room for."""
_PREFIX: Final = "attribute:"

Wanted = Literal["all"] | Sequence[str] | Mapping[str, str]
"""Fields; or fields by the name that each gets; or all."""

Kind = Literal["integer", "decimal", "boolean", "day", "time", "text"]


@dataclass(frozen=True)
class Attributes:
    """Columns of a zone layer, a row for each zone; text, whole and decimal numbers, truth values, days or times."""

    columns: Mapping[str, pa.Array] = field(default_factory=dict)
    """By name."""
    notes: tuple[str, ...] = ()
    """Fields that got another name or were left out: a sentence for each."""

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.columns)

    @cached_property
    def digest(self) -> str:
        """Digest of names, types and values; empty without attributes."""
        if not self.columns:
            return ""
        made = hashlib.blake2b(digest_size=16)
        for name, column in self.columns.items():
            made.update(json.dumps([name, str(column.type), len(column)]).encode())
            # Lists of Python do not depend on how Arrow lays a column out.
            made.update(json.dumps(column.to_pylist(), default=str).encode())
        return made.hexdigest()

    def kept(self, rows: Sequence[int] | npt.NDArray[np.intp]) -> Attributes:
        """Those of some zones, in this order."""
        import pyarrow as pa

        places = pa.array(rows, pa.int64())
        return Attributes({name: column.take(places) for name, column in self.columns.items()}, self.notes)

    @property
    def crop(self) -> str | None:
        """Name of the attribute that says the crop."""
        return next((name for name in self.columns if name.casefold() == "crop"), None)

    def describe(self, row: int, most: int = 3) -> str | None:
        """The first values of a zone, for titles; a crop needs no name before it."""
        first = [self.crop] if self.crop is not None else []
        said = []
        for name in [*first, *(name for name in self.columns if name not in first)]:
            value = self.columns[name][row].as_py()
            if value is not None and str(value).strip():
                text = f"{value:g}" if isinstance(value, float) else str(value).strip()
                said.append(_short(text if name in first else f"{name} {text}"))
        shown: list[str] = []
        for text in said[:most]:
            if shown and len(" · ".join([*shown, text])) > _LONGEST_TITLE:
                break
            shown.append(text)
        return " · ".join(shown) or None

    def texts(self, name: str) -> list[str | None]:
        """Values of an attribute as text."""
        return [None if value is None else str(value) for value in self.columns[name].to_pylist()]

    def frozen(self) -> dict[str, pa.Array]:
        """Columns of a table with zones."""
        return {_PREFIX + name: column for name, column in self.columns.items()}

    @classmethod
    def of_frozen(cls, table: pa.Table, notes: Sequence[str]) -> Attributes:
        """Attributes of a table that `frozen` was written to."""
        names = [name for name in table.schema.names if name.startswith(_PREFIX)]
        columns = {name.removeprefix(_PREFIX): _whole(table[name]) for name in names}
        return cls(columns, tuple(map(str, notes)))


NO_ATTRIBUTES: Final = Attributes()


@dataclass(frozen=True)
class Names:
    """Names of columns that a reduction has beside the attributes of its zones."""

    bands: Collection[str] = ()
    """Bands and indices: `NDVI_mean` and `SCL_4` are columns of records."""

    def fault(self, name: str) -> str | None:
        """Why an attribute cannot have a name; None if it can."""
        if not name.strip() or not name.isprintable():
            return "it is empty or has characters that cannot be printed"
        if len(name.encode()) > _MOST_BYTES:
            return f"it is longer than {_MOST_BYTES} bytes, which PostgreSQL would cut"
        if self._is_reserved(name):
            return "hpckit has a column of this name"
        return None

    def _is_reserved(self, name: str) -> bool:
        plain = name.casefold()
        if plain in _RESERVED or _PERCENTILE.fullmatch(plain):
            return True
        return any(plain.startswith(f"{band.casefold()}_") for band in self.bands)


def kind_of(column: pa.Array) -> Kind:
    """Kind of an attribute, for which stores have types of their own."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_floating(kind):
        return "decimal"
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_date(kind):
        return "day"
    return "time" if pa.types.is_timestamp(kind) else "text"


def require_names(names: Sequence[str], taken: Names) -> None:
    """Refuse names that attributes cannot have.

    Raises
    ------
    ValueError
        If one is reserved or too long, or two differ by case alone.
    """
    if len(names) > MOST:
        raise ValueError(f"{len(names)} attributes are more than the {MOST} that stores hold; name fewer")
    seen: dict[str, str] = {}
    for name in names:
        if reason := taken.fault(name):
            raise ValueError(f"{name!r} cannot name an attribute: {reason}; write `new_name: {name}` instead")
        if (other := seen.get(name.casefold())) is not None:
            raise ValueError(
                f"attributes {other!r} and {name!r} have one name in databases; write `new_name: {name}` for one"
            )
        seen[name.casefold()] = name


def read_attributes(
    features: Features, wanted: Wanted, id_field: str, taken: Names, encoding: str | None
) -> Attributes:
    """Read attributes of all features of a layer.

    Parameters
    ----------
    wanted : "all", sequence or mapping
        Fields. Of all, those that cannot be columns are left out, and those whose name is taken get another one.
    id_field : str
        The identifier, which is no attribute.
    taken : Names
        Names that other columns have.

    Raises
    ------
    ZoneError
        If a field is missing or is no plain value, or there are too many.
    VectorError
        If the layer cannot be read.
    """
    from hpckit.space.vector.columns import field_names, read_columns, require_fields

    known = field_names(features)
    if wanted == "all":
        named, notes = _renamed([name for name in known if name != id_field], taken)
        found = read_columns(features, list(named.values()), encoding)
        notes += [f"field {named[new]!r} left out: {column}" for new, column in _refused(named, found)]
    else:
        named = dict(wanted) if isinstance(wanted, Mapping) else {str(name): str(name) for name in wanted}
        notes = []
        require_fields(features, list(named.values()), known)
        found = read_columns(features, list(dict.fromkeys(named.values())), encoding)
        for new, reason in _refused(named, found):
            raise ZoneError(
                f"{features.what}: field {named[new]!r} is no attribute, since it holds {reason}",
                hint="remove it from `attributes`",
            )
    columns = {new: found[old] for new, old in named.items() if not isinstance(found[old], str)}
    if len(columns) > MOST:
        raise ZoneError(
            f"{features.what}: {len(columns)} fields are more than the {MOST} attributes that stores hold",
            hint="name the fields that are needed: `attributes: [crop, holding]`",
        )
    return Attributes(columns, tuple(notes))


def _refused(named: Mapping[str, str], found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(new, found[old]) for new, old in named.items() if isinstance(found[old], str)]


def _renamed(fields: Sequence[str], taken: Names) -> tuple[dict[str, str], list[str]]:
    """Fields by names that they can have, and a sentence for each that has another one."""
    named: dict[str, str] = {}
    notes, used = [], {name.casefold() for name in fields}
    seen: set[str] = set()
    for old in fields:
        new = old
        if taken.fault(old) is not None or old.casefold() in seen:
            new = _free_name(old, taken, used)
            notes.append(f"field {old!r} is attribute {new!r}: {taken.fault(old) or 'names differ by case alone'}")
        seen.add(new.casefold())
        used.add(new.casefold())
        named[new] = old
    return named, notes


def _free_name(old: str, taken: Names, used: Collection[str]) -> str:
    plain = "".join(letter if letter.isprintable() else "_" for letter in old).strip()
    short = f"zone_{plain}".encode()[: _MOST_BYTES - 5].decode(errors="ignore")
    names = [short, *(f"{short}_{number}" for number in range(2, MOST + 2))]
    return next(name for name in names if name.casefold() not in used and taken.fault(name) is None)


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 1] + "…"


def _whole(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    made = column.combine_chunks()
    if isinstance(made, pa.ChunkedArray):
        return made.chunk(0) if made.num_chunks else pa.array([], made.type)
    return made


def describe_notes(notes: Sequence[str], shown: int = 3) -> str:
    """Sentences on attributes, the first ones."""
    more = f"; and {format_count(len(notes) - shown, 'field')} more" if len(notes) > shown else ""
    return "; ".join(notes[:shown]) + more
