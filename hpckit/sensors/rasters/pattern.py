"""Names of image files: a pattern that says where date, time, band and tile stand in them.

`{date}`, `{time}`, `{band}` and `{tile}` are fields, `*` is any text, `/` separates folders, and all else stands for
itself. The last part of a pattern is a file's name, parts before it are the folders that it lies in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final

_FIELD: Final = re.compile(r"\{(?P<field>\w+)(?::(?P<form>[^{}]*))?\}|(?P<any>\*)")
_DIRECTIVES: Final = {
    **{"Y": r"\d{4}", "y": r"\d{2}", "m": r"\d{2}", "b": r"[A-Za-z]{3}", "d": r"\d{2}", "j": r"\d{3}"},
    **{"H": r"\d{2}", "M": r"\d{2}", "S": r"\d{2}"},
}
"""Of strptime, each of a fixed length."""
_DATE: Final = r"\d{8}|\d{4}-\d{2}-\d{2}|\d{4}_\d{2}_\d{2}|\d{4}\.\d{2}\.\d{2}"
_TIME: Final = r"\d{6}|\d{4}|\d{2}[-_.:]\d{2}[-_.:]\d{2}|\d{2}[-_.:]\d{2}"
TILE: Final = r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
"""Name of a tile."""
_ENDINGS: Final = (".tif", ".tiff")
_EXAMPLE: Final = datetime(2024, 5, 1, 10, 46, 19, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a pattern."""

    kind: str
    """`text`, `any`, `date`, `time`, `band` or `tile`."""
    text: str = ""
    """Of a text itself; of a date or time its form, as strptime has it; empty for the usual ones."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the path of an image says."""

    base: Path
    """Folder that the pattern begins in."""
    texts: Mapping[Part, str]
    """Text of each field."""

    @property
    def band(self) -> str:
        """Text that stands for the band; empty where the pattern has none."""
        return self.texts.get(Part("band"), "")

    @property
    def tile(self) -> str:
        """Name of the tile; empty where the pattern has none."""
        return self.texts.get(Part("tile"), "")

    @property
    def key(self) -> tuple[Path, tuple[str, ...]]:
        """What the files of one scene have in common."""
        return self.base, tuple(text for part, text in self.texts.items() if part.kind != "band")

    def sensed(self) -> datetime:
        """Date and time, UTC; 0 o'clock where the name has no time.

        Raises
        ------
        ValueError
            If there is no such day or time; the message says so.
        """
        texts = {part: text for part, text in self.texts.items() if part.kind in ("date", "time")}
        forms = [part.text or _usual(part.kind, text) for part, text in texts.items()]
        joined = [text if part.text else re.sub(r"\D", "", text) for part, text in texts.items()]
        try:
            return datetime.strptime(" ".join(joined), " ".join(forms)).replace(tzinfo=UTC)
        except ValueError:
            raise ValueError(f"{' '.join(texts.values())} is no {' and '.join(_kinds(texts))}") from None


def _kinds(parts: Mapping[Part, str]) -> list[str]:
    return list(dict.fromkeys(part.kind for part in parts))


def _usual(kind: str, text: str) -> str:
    digits = len(re.sub(r"\D", "", text))
    return "%Y%m%d" if kind == "date" else "%H%M%S" if digits == 6 else "%H%M"


@dataclass(frozen=True)
class Pattern:
    """A pattern of the names of image files."""

    text: str
    """As the campaign file has it."""
    bands: tuple[str, ...]
    """Texts that `{band}` stands for."""

    def __post_init__(self) -> None:
        """Refuse what is no pattern.

        Raises
        ------
        ValueError
            Says what is wrong, and what to write.
        """
        if not self.text.lower().endswith(_ENDINGS):
            raise ValueError(f"a pattern ends in {' or '.join(_ENDINGS)}, as in {{date}}_{{band}}.tif")
        if any(name in ("", ".", "..") for name in self.text.split("/")):
            raise ValueError(
                "a pattern names folders and files below `scenes.paths`, as in {date:%Y}/{date}_{band}.tif"
            )
        for part in self.fields:
            _require_form(part)
        told = [name for part in self.fields for name in _directives(part)]
        if not {"Y", "y"} & {name for part in self.fields if part.kind == "date" for name in _directives(part)}:
            raise ValueError("a pattern needs {date}, or a date with a year like {date:%Y%j}")
        if len(set(told)) < len(told):
            raise ValueError("each of year, month, day, hour, … stands in one field of a pattern")
        again = self.match(Path("/", self.example()))
        if again is None or again.sensed() > _EXAMPLE:
            raise ValueError("its fields cannot be told apart: put some text between them")

    @cached_property
    def folders(self) -> tuple[tuple[Part, ...], ...]:
        """Pieces of each folder, and last those of the file's name."""
        return tuple(tuple(_parts(name)) for name in self.text.split("/"))

    @cached_property
    def fields(self) -> tuple[Part, ...]:
        """Fields, each once."""
        found = (part for name in self.folders for part in name if part.kind not in ("text", "any"))
        return tuple(dict.fromkeys(found))

    @property
    def has_band(self) -> bool:
        """Whether names say the band."""
        return Part("band") in self.fields

    def match(self, path: Path) -> Found | None:
        """What a path says; None if its end is not as the pattern has it."""
        depth = len(self.folders)
        match = self._whole.fullmatch("/".join(path.parts[-depth:]))
        if match is None or len(path.parts) <= depth:
            return None
        return Found(path.parents[depth - 1], dict(zip(self.fields, match.groups(), strict=True)))

    def images(self, folder: Path) -> list[tuple[Path, Found]]:
        """Images below a folder whose paths from it are as the pattern has them, sorted.

        Raises
        ------
        OSError
            If a folder cannot be read.
        """
        places = [folder]
        for name in self._names:
            places = [place / entry for place in places for entry in _entries(place) if name.fullmatch(entry)]
        found = ((path, self.match(path)) for path in sorted(places))
        return [(path, match) for path, match in found if match is not None]

    def beside(self, found: Found) -> list[tuple[str, Path]]:
        """Images of the same scene, with the text that stands for the band.

        Without `*` their paths are known, and no folder is listed: that would be done for each date of a folder.

        Raises
        ------
        OSError
            If a folder cannot be read.
        """
        told = {part: text for part, text in found.texts.items() if part.kind != "band"}
        known = (
            [{**told, Part("band"): band} for band in self.bands] if self.has_band and not self._is_open else [told]
        )
        images = []
        for path in (path for texts in known for path in self._places(found.base, texts)):
            again = self.match(path)
            if again is not None and again.key == found.key and path.is_file():
                images.append((again.band, path))
        return images

    @property
    def _is_open(self) -> bool:
        """Whether it has a part that may be any text."""
        return any(part.kind == "any" for name in self.folders for part in name)

    def _places(self, base: Path, texts: Mapping[Part, str]) -> list[Path]:
        """Paths that have these texts; any where there is none."""
        places = [base]
        for name in self.folders:
            known = [part.text if part.kind == "text" else texts.get(part) for part in name]
            if None in known:
                wanted = re.compile("".join("[^/]*" if text is None else re.escape(text) for text in known))
                places = [place / entry for place in places for entry in _listed(place) if wanted.fullmatch(entry)]
            else:
                places = [place / "".join(text or "" for text in known) for place in places]
        return sorted(places)

    def example(self) -> str:
        """A path as the pattern has it."""
        names = ("".join(_shown(part, self.bands) for part in name) for name in self.folders)
        return "/".join(name or "any" for name in names)

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        seen: set[Part] = set()
        return re.compile("/".join(_regex(name, self.fields, self.bands, seen) for name in self.folders))

    @cached_property
    def _names(self) -> tuple[re.Pattern[str], ...]:
        """For each folder and the file alone."""
        return tuple(re.compile(_regex(name, self.fields, self.bands, set())) for name in self.folders)


def _regex(name: Sequence[Part], fields: Sequence[Part], bands: Sequence[str], seen: set[Part]) -> str:
    """Regular expression of a name; a field that was seen before has the same text again."""
    found = ""
    for part in name:
        if part in seen:
            found += f"(?P=f{fields.index(part)})"
        elif part.kind in ("text", "any"):
            found += "[^/]*" if part.kind == "any" else re.escape(part.text)
        else:
            seen.add(part)
            found += f"(?P<f{fields.index(part)}>{_field(part, bands)})"
    return found


def _field(part: Part, bands: Sequence[str]) -> str:
    if part.kind == "band":
        return "|".join(map(re.escape, sorted(bands, key=len, reverse=True)))
    if part.kind == "tile":
        return TILE
    if not part.text:
        return _DATE if part.kind == "date" else _TIME
    pieces = re.split("%(.)", part.text)
    return "".join(_DIRECTIVES[piece] if n % 2 else re.escape(piece) for n, piece in enumerate(pieces))


def _parts(name: str) -> Iterator[Part]:
    """Pieces of a name.

    Raises
    ------
    ValueError
        If a field is unknown.
    """
    end = 0
    for match in _FIELD.finditer(name):
        yield from _text(name[end : match.start()])
        end = match.end()
        if match["any"]:
            yield Part("any")
        elif match["field"] not in ("date", "time", "band", "tile"):
            raise ValueError(
                f"{match[0]} is no field of a pattern; fields are {{date}}, {{time}}, {{band}} and {{tile}}"
            )
        else:
            yield Part(match["field"], match["form"] or "")
    yield from _text(name[end:])


def _text(text: str) -> Iterator[Part]:
    if "{" in text or "}" in text:
        raise ValueError(f"{text!r}: a field stands in a pair of braces, as in {{date:%Y%m%d}}")
    if text:
        yield Part("text", text)


def _directives(part: Part) -> list[str]:
    """What a date or time tells, by the letters of strptime."""
    usual = {"date": "%Y%m%d", "time": "%H%M%S"}.get(part.kind, "")
    return re.findall("%(.?)", part.text or usual)


def _require_form(part: Part) -> None:
    if part.text and part.kind in ("band", "tile"):
        raise ValueError(f"{{{part.kind}}} has no form; remove {part.text!r}")
    for directive in re.findall("%(.?)", part.text):
        if directive not in _DIRECTIVES:
            known = ", ".join(f"%{name}" for name in _DIRECTIVES)
            raise ValueError(f"%{directive} is not known in a {part.kind}; {known} are")
    if part.text and "%" not in part.text:
        raise ValueError(f"{part.text!r} is no form of a {part.kind}; write it like {{date:%Y%m%d}} or {{time:%H%M}}")


def _shown(part: Part, bands: Sequence[str]) -> str:
    if part.kind in ("date", "time"):
        return _EXAMPLE.strftime(part.text or ("%Y%m%d" if part.kind == "date" else "%H%M%S"))
    return {"text": part.text, "any": "", "band": next(iter(bands), "band"), "tile": "north"}[part.kind]


def _entries(folder: Path) -> list[str]:
    """Names in a folder; of a file none. Hidden ones are half written."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".")]
    except NotADirectoryError:
        return []


def _listed(folder: Path) -> list[str]:
    try:
        return _entries(folder)
    except FileNotFoundError:
        return []
