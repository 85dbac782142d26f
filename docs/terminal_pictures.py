"""Pictures of a terminal: commands that were run, and what they printed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

ROOT: Final = Path(__file__).parent.parent
COLUMNS: Final = 100
_ROOM: Final = 300  # for paths of this machine, until the reader's shorter ones replace them
_PROGRESS: Final = re.compile("━| left$|: started$")


@dataclass(frozen=True, slots=True)
class Shown:
    """A command of a picture."""

    words: Sequence[str]
    lines: int = 0
    """Only so many first lines of its output are shown; 0: all."""
    code: int = 0
    logged: bool = False
    """Its output is that of a log file: a progress bar would move the cursor."""
    without: str = "\\0"
    """Lines that this expression finds are left out, with the advice below them."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """Runs commands in a folder, and draws them."""

    folder: Path
    title: str = "hpckit"
    called: Mapping[str, str] = field(default_factory=dict)
    """Texts of this machine, such as a port, and what the picture has in their place."""

    def picture(self, *commands: Shown) -> str:
        """Run commands; an SVG of them and their output."""
        text = Text()
        for each in commands:
            text.append("$ ", "bold green").append(f"{self._typed(each.words)}\n", "bold")
            output = self._shortened(self._output(each), each.lines)
            text.append_text(Text("\n").join(_fitting(output))).append("\n\n" if output else "\n")
        text.right_crop(1)  # an empty line stays: the frame would cut the feet of letters in the last one
        console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
        console.print(text)
        svg = console.export_svg(title=self.title, unique_id="session")
        return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # fonts from a server of others

    def _typed(self, words: Sequence[str]) -> str:
        """As one types it: a long command with a backslash at the end of lines."""
        line = words[2] if words[0] == "sh" else " ".join(shlex.quote(word) for word in words)
        for ours, theirs in self.called.items():
            line = line.replace(ours, theirs)
        lines = textwrap.wrap(line, COLUMNS - 6, break_long_words=False, break_on_hyphens=False)
        return " \\\n    ".join(lines)

    def _output(self, each: Shown) -> str:
        printed = (logged if each.logged else on_terminal)(self.folder, each.words, each.code)
        kept = [line for line in self._as_readers_see(printed).strip("\n").split("\n") if not _PROGRESS.search(line)]
        return re.sub(rf"^.*(?:{each.without}).*\n(?: *-> .*\n)?", "", "\n".join(kept), flags=re.MULTILINE)

    @staticmethod
    def _shortened(output: str, lines: int) -> str:
        kept = output.split("\n")
        return "\n".join([*kept[:lines], "…"]) if lines and len(kept) > lines else output

    def _as_readers_see(self, output: str) -> str:
        """With the paths of an installation and a project, for those of this machine; columns stay in line."""
        shorter = {
            **self.called,
            str(self.folder): "/project/eo",
            f"{ROOT}/site-configs": "~/venv/share/hpckit/site-configs",
            str(ROOT): "~/venv/lib/hpckit",
            sys.prefix: "~/venv",
        }
        for ours, theirs in shorter.items():
            lost = len(ours) - len(theirs)
            pattern = re.compile(rf"{re.escape(ours)}(?P<rest>\S*)(?P<space> {{2,}}(?=\S))?")
            output = pattern.sub(
                lambda match, theirs=theirs, lost=lost: (
                    theirs + match["rest"] + (match["space"] + " " * lost if match["space"] else "")
                ),
                output,
            )
        return "\n".join(line.rstrip() for line in output.split("\n"))


def on_terminal(folder: Path, words: Sequence[str], code: int = 0) -> str:
    """Output of a command on a terminal, with its colours."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, _ROOM, 0, 0))
    environment = {**environment_of_commands(), "COLUMNS": str(_ROOM)}
    process = subprocess.Popen(_program(words), cwd=folder, env=environment, stdin=its, stdout=its, stderr=its)
    os.close(its)
    output = b"".join(_bytes_of(ours)).decode()
    if process.wait() != code:
        raise RuntimeError(f"{shlex.join(words)} ended with {process.returncode}:\n{output}")
    # What was rewritten in its line is seen no more.
    return re.sub(r"[^\n]*\r(?!\n)", "", output.replace("\r\n", "\n"))


def logged(folder: Path, words: Sequence[str], code: int = 0) -> str:
    """Output of a command that is not on a terminal."""
    environment = environment_of_commands()
    done = subprocess.run(_program(words), cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != code:
        raise RuntimeError(f"{shlex.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def environment_of_commands() -> dict[str, str]:
    """Variables with which commands find this hpckit."""
    path: Sequence[str] = (str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": ":".join(path), "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}


def _program(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", *words] if words[0] == "hpckit" else list(words)


def _fitting(output: str) -> Iterator[Text]:
    """Lines of the picture: the rest of a long one begins below its last cell, as in a table."""
    for line in Text.from_ansi(output).split("\n", allow_blank=True):
        line.rstrip()
        while len(line) > COLUMNS:
            gap = max(re.finditer("(?<=[^ ]) {2,}", line.plain), key=lambda found: len(found[0]), default=None)
            more = len(line) - COLUMNS
            if gap and len(gap[0]) > more + 2:  # a column of which nothing is filled
                line = line[: gap.start()] + Text(" " * (len(gap[0]) - more)) + line[gap.end() :]
                break
            at = line.plain.rfind(" ", 0, COLUMNS + 1)
            cells = [found.end() for found in re.finditer("^| {2,}", line.plain[:at]) if found.end() < COLUMNS // 2]
            if at <= cells[-1]:
                at = COLUMNS
            yield line[:at]
            rest = line[at:]
            line = Text(" " * cells[-1]) + rest[len(rest) - len(rest.plain.lstrip()) :]
        yield line


def _bytes_of(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            yield os.read(terminal, 65536)
        except OSError:  # EIO: the command has ended
            os.close(terminal)
            return
