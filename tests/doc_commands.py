"""Commands of the documentation, in the order of each page, and what its comments say about running them.

Commands are the lines of blocks in `bash`, those after `$ ` of blocks in `console`, and lines of blocks without a
language of which one begins with a program. HTML comments of a page, which readers do not see, say what a test must
know:

    <!-- test: with cluster postgis -->
    <!-- test: scratch /opt /etc/hpckit -->
    <!-- test: elsewhere "hpckit image" tests/integration/test_image.py -->
    <!-- test: elsewhere block docs/pictures.py -->
    <!-- test: exit 1 "hpckit verify" -->
    <!-- test: serve "hpckit serve" -->
    <!-- test: type "hpckit serve passwd" wheat-2024 wheat-2024 -->
    <!-- test: cron "13 * * * *" -->
    <!-- test: first cp -r $PREPARED/farm/. . -->
    <!-- test: after "hpckit init" cp $PREPARED/farm/campaign.yaml . -->
    <!-- test: file campaign.yaml -->

A text in quotes is the beginning of commands; it counts for all of the page after the comment, `block` for the next
block. `first` runs a line of shell before the next command, and `after` one after a command. `file` writes the next
block, in any language, to a file before the next command. `type` gives lines to commands that ask, and `cron` runs a
line of a crontab as cron does.

`with` names servers that the commands of the page need, and `scratch` folders of the machine that the page may
change: it has its own ones in their place. A command that runs `elsewhere` is left out here: its text is in the file
that the comment names, or that file takes its words from the page by `as_written`. There is no other way to leave a
command out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PROGRAMS: Final = (
    *("hpckit", "make", "pip", "apptainer", "docker", "systemctl", "loginctl", "python", "mkdir", "cp", "export"),
    *(
        "gdal_translate",
        "gdalinfo",
        "qgis",
        "jq",
        "curl",
        "psql",
        "ssh",
        "rsync",
        "module",
        "spack",
        "eb",
        "man",
        "eval",
    ),
)
_DIRECTIVE: Final = re.compile(r"<!-- test: (.*?) -->", re.DOTALL)
_ELSEWHERE: Final = re.compile(r'elsewhere (?:"(?P<begin>[^"]*)"|(?P<block>block)) (?P<file>\S+)')
_EXIT: Final = re.compile(r'exit (?P<code>\d+) "(?P<begin>[^"]*)"')
_SERVE: Final = re.compile(r'serve "(?P<begin>[^"]*)"')
_AFTER: Final = re.compile(r'after "(?P<begin>[^"]*)" (?P<line>.+)', re.DOTALL)
_FILE: Final = re.compile(r"file (?P<name>\S+)")
_FIRST: Final = re.compile(r"first (?P<line>.+)", re.DOTALL)
_TYPE: Final = re.compile(r'type "(?P<begin>[^"]*)" (?P<lines>.+)', re.DOTALL)
_CRON: Final = re.compile(r'cron "(?P<begin>[^"]*)"')
_WITH: Final = re.compile(r"with (?P<servers>.+)")
_SCRATCH: Final = re.compile(r"scratch (?P<folders>.+)")


@dataclass(slots=True)
class Command:
    """A command of a page."""

    page: str
    line: int
    text: str
    block: int
    elsewhere: str = ""
    """File that runs it instead."""
    code: int = 0
    serves: bool = False
    typed: list[str] = field(default_factory=list)
    """Lines for a command that asks."""
    cron: bool = False
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Page:
    """A page, and what its comments say."""

    commands: list[Command]
    wrong: list[str] = field(default_factory=list)
    """Comments that are none of the known ones, or concern no command."""
    servers: list[str] = field(default_factory=list)
    scratch: list[str] = field(default_factory=list)


def pages() -> list[Path]:
    """README and all pages."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def read(path: Path) -> Page:
    """Commands of a page, and what its comments say about them."""
    text = path.read_text()
    page = Page(list(_commands(path.relative_to(ROOT).as_posix(), text)))
    for match in _DIRECTIVE.finditer(text):
        line, rule = text.count("\n", 0, match.start()) + 1, " ".join(match.group(1).split())
        if named := _WITH.fullmatch(rule):
            page.servers += named["servers"].split()
        elif named := _SCRATCH.fullmatch(rule):
            page.scratch += named["folders"].split()
        elif reason := _apply(_as_shell(rule, text, line), line, page.commands):
            page.wrong.append(f"{path.relative_to(ROOT)}:{line}: {reason}: {rule}")
    return page


def as_written(page: str, begin: str) -> list[str]:
    """Words of the first command of a page that begins so.

    Raises
    ------
    LookupError
        If the page has none.
    """
    for command in _commands(page, (ROOT / page).read_text()):
        if command.text.startswith(begin):
            return shlex.split(command.text, comments=True)
    raise LookupError(f"{page} has no command that begins with {begin!r}")


def runs(file: Path, command: Command) -> bool:
    """Whether a file runs a command of a page: it has its text, or takes its words by `as_written`."""
    text = file.read_text() if file.is_file() else ""
    if " ".join(shlex.split(command.text, comments=True)) in " ".join(text.split()):
        return True
    taken = re.findall(rf'as_written\(\s*"{re.escape(command.page)}",\s*"([^"]+)"', text)
    return any(command.text.startswith(begin) for begin in taken)


def _as_shell(rule: str, text: str, line: int) -> str:
    """`file NAME` as a line of shell that writes the next block; other rules as they are."""
    match = _FILE.fullmatch(rule)
    if match is None:
        return rule
    rest = "\n".join(text.split("\n")[line:])
    block = re.search(r"^```[^\n]*\n(.*?)^```", rest, re.DOTALL | re.MULTILINE)
    content = "" if block is None else block.group(1)
    return f"first printf %s {shlex.quote(content)} > {match['name']}"


def _apply(rule: str, line: int, found: list[Command]) -> str:
    """Do what a comment says; why it cannot be done, or an empty text."""
    later = [command for command in found if command.line > line]
    for pattern, act in _RULES:
        if match := pattern.fullmatch(rule):
            return "" if act(match, later) else "it concerns no command"
    return "no such rule"


def _elsewhere(match: re.Match[str], later: list[Command]) -> bool:
    block = [command for command in later if command.block == later[0].block]
    concerned = block if match["block"] else _that_begin(later, match["begin"])
    for command in concerned:
        command.elsewhere = match["file"]
    return bool(concerned)


def _exit(match: re.Match[str], later: list[Command]) -> bool:
    concerned = _that_begin(later, match["begin"])
    for command in concerned:
        command.code = int(match["code"])
    return bool(concerned)


def _serve(match: re.Match[str], later: list[Command]) -> bool:
    concerned = _that_begin(later, match["begin"])
    for command in concerned:
        command.serves = True
    return bool(concerned)


def _after(match: re.Match[str], later: list[Command]) -> bool:
    concerned = _that_begin(later, match["begin"])[:1]
    for command in concerned:
        command.after.append(match["line"])
    return bool(concerned)


def _first(match: re.Match[str], later: list[Command]) -> bool:
    for command in later[:1]:
        command.before.append(match["line"])
    return bool(later)


def _type(match: re.Match[str], later: list[Command]) -> bool:
    concerned = _that_begin(later, match["begin"])
    for command in concerned:
        command.typed = match["lines"].split()
    return bool(concerned)


def _cron(match: re.Match[str], later: list[Command]) -> bool:
    concerned = _that_begin(later, match["begin"])
    for command in concerned:
        command.cron = True
    return bool(concerned)


_RULES: Final = (
    (_ELSEWHERE, _elsewhere),
    (_EXIT, _exit),
    (_SERVE, _serve),
    (_AFTER, _after),
    (_FIRST, _first),
    (_TYPE, _type),
    (_CRON, _cron),
)


def _that_begin(found: list[Command], begin: str) -> list[Command]:
    return [command for command in found if command.text.startswith(begin)]


def _commands(page: str, text: str) -> Iterator[Command]:
    for number, (line, lines) in enumerate(_blocks(text)):
        begun = ""
        for offset, each in enumerate(lines):
            begun = f"{begun}{each.strip()}" if begun else each
            if begun.endswith("\\"):
                begun = begun.removesuffix("\\")
                continue
            if begun:
                yield Command(page, line + offset, begun, number)
            begun = ""


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """First line's number, and lines of commands, of each block; other lines are empty and left out later."""
    fence, language, begin = "", "", 0
    lines: list[str] = []
    indented: list[tuple[int, str]] = []
    previous = ""
    for number, raw in enumerate([*text.split("\n"), ""], 1):
        stripped = raw.strip()
        if fence:
            if stripped == fence:
                yield from _chosen(language, begin + 1, lines)
                fence = ""
            else:
                lines.append(raw)
        elif match := re.match(r"\s*(`{3,})(.*)", raw):
            fence, language, begin, lines = match.group(1), match.group(2).strip(), number, []
        elif (
            raw.startswith("    ") and (indented or not previous.strip()) and not re.match(r"\s*(?:[-*]|\d+\.) ", raw)
        ):
            indented.append((number, raw[4:]))
        elif stripped:
            if indented:
                yield from _chosen("", indented[0][0], _dense(indented))
            indented = []
        previous = raw
    if indented:
        yield from _chosen("", indented[0][0], _dense(indented))


def _dense(numbered: list[tuple[int, str]]) -> list[str]:
    by_number = dict(numbered)
    return [by_number.get(number, "") for number in range(numbered[0][0], numbered[-1][0] + 1)]


def _chosen(language: str, begin: int, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The block, if it has commands; each run of lines that are commands is a part of its own."""
    if language not in ("", "bash", "console", "sh"):
        return
    prompts = any(line.startswith("$ ") for line in lines)
    marked = prompts or language in ("bash", "sh")
    if not marked and not any(line.split(" ")[0] in PROGRAMS for line in lines):
        return
    chosen, continued = [], False
    for line in lines:
        is_command = continued or (
            line.startswith("$ ") if prompts else bool(line.strip()) and not line.lstrip().startswith("#")
        )
        text = line.removeprefix("$ ") if prompts and not continued else line
        continued = is_command and text.endswith("\\")
        chosen.append(text if is_command else "")
    yield begin, chosen
