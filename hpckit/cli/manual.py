"""Manual pages, from the help of the commands: `python -m hpckit.cli.manual FOLDER`; wheels contain them.

Pages are in the macros of man(7). Nothing but click is imported, so that a build needs no other package.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from hpckit.base.version import __version__
from hpckit.cli import cli

SECTION: Final = 1
_VERBATIM: Final = "\b"
"""Begins a paragraph whose lines click keeps."""
_WIDTH: Final = 70
_FILES: Final = (
    ("campaign.yaml", "The campaign file, which describes a production."),
    ("~/.config/hpckit/sites/", "Site files of the user; /etc/hpckit/sites has those of the machine."),
    ("~/.cache/hpckit/kernels/", "Compiled kernels; HPCKIT_KERNELS names another folder."),
)
_CODES: Final = (
    ("0", "Success."),
    ("1", "A failure, which is named on stderr with its remedy."),
    ("2", "The command line is wrong."),
    ("75", "A temporary failure: give the same command again later."),
    ("130", "Stopped by Ctrl-C; finished work is kept."),
)


def pages(day: str) -> dict[str, str]:
    """All manual pages by the names of their files.

    Parameters
    ----------
    day : str
        Date that the pages bear, as 2026-11-30.
    """
    context = click.Context(cli, info_name="hpckit", **cli.context_settings)
    return {f"{name}.{SECTION}": page for name, page in _pages(context, day)}


def write(folder: Path, seconds: int) -> list[Path]:
    """Write all pages into a folder.

    Parameters
    ----------
    seconds : int
        Time since 1970 of the build, whose date the pages bear.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, page in pages(datetime.fromtimestamp(seconds, UTC).date().isoformat()).items():
        (folder / name).write_text(page, encoding="utf-8")
        written.append(folder / name)
    return written


def _pages(context: click.Context, day: str) -> Iterator[tuple[str, str]]:
    inner = list(_inner(context))
    yield context.command_path.replace(" ", "-"), "\n".join(_lines(context, inner, day)) + "\n"
    for each in inner:
        if not each.command.hidden:
            yield from _pages(each, day)


def _inner(context: click.Context) -> Iterator[click.Context]:
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield click.Context(found, parent=context, info_name=name, **found.context_settings)


def _lines(context: click.Context, inner: list[click.Context], day: str) -> Iterator[str]:
    command, name = context.command, context.command_path.replace(" ", "-")
    yield f'.TH {name.upper().replace("-", chr(92) + "-")} {SECTION} "{day}" "hpckit {__version__}" "hpckit"'
    yield ".SH NAME"
    yield from _wrapped(f"{name} \0 {_summary(command)}")
    yield ".SH SYNOPSIS"
    words = " ".join(command.collect_usage_pieces(context))
    yield f".B {_text(context.command_path)}"
    yield _text(words)
    yield ".SH DESCRIPTION"
    yield from _paragraphs(inspect.cleandoc(command.help or ""))
    records = (param.get_help_record(context) for param in command.get_params(context))
    options = [record for record in records if record is not None and record[1]]
    if options:
        yield ".SH OPTIONS"
        yield from _list(options)
    if inner:
        yield ".SH COMMANDS"
        yield from _list((each.info_name or "", _summary(each.command)) for each in inner if not each.command.hidden)
    if context.parent is None:
        yield ".SH FILES"
        yield from _list(_FILES)
    yield ".SH EXIT STATUS"
    yield from _list(_CODES)
    yield ".SH SEE ALSO"
    others = [each.command_path for each in inner] or ([context.parent.command_path] if context.parent else [])
    yield ",\n".join(f".BR {_text(path.replace(' ', '-'))} ({SECTION})" for path in others)


def _summary(command: click.Command) -> str:
    return command.get_short_help_str(200).rstrip(".")


def _list(records: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in records:
        yield ".TP"
        yield f".B {_text(term)}"
        yield from _wrapped(text)


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of a help text; lines of verbatim ones are kept, and `Example:` becomes a heading."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text)):
        lines = paragraph.split("\n")
        if lines[0].strip() != _VERBATIM:
            if number:
                yield ".PP"
            yield from _wrapped(paragraph)
            continue
        lines = lines[1:]
        if re.match(r"Examples?:", lines[0]):
            yield ".SH EXAMPLES"
            lines = lines[1:]
        else:
            yield ".PP"
        yield ".nf"
        yield from (_text(line.removeprefix("  ")) or "\\&" for line in lines)
        yield ".fi"


def _wrapped(text: str) -> Iterator[str]:
    """Lines of a paragraph; those of troff's source should be short."""
    for line in textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False):
        yield _text(line).replace("\0", "\\-")


def _text(text: str) -> str:
    """Text without characters that troff interprets."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


if __name__ == "__main__":
    import time

    write(Path(sys.argv[1]), int(time.time()))
