"""`hpckit completion`: what a shell suggests while a command is typed.

Names of sites, zones, bands and tiles come from files that are read in a moment; what cannot be read has none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

if TYPE_CHECKING:
    from hpckit.runs.names import Names

VARIABLE: Final = "_HPCKIT_COMPLETE"
"""Set by the script of a shell when it asks; `hpckit.cli` looks for it too."""
_USUAL: Final = "campaign.yaml"


class _Bash(BashComplete):
    """Bash inserts words as they are, so those with characters that it would interpret are put in quotes."""

    def complete(self) -> str:
        """All suggestions, one a line; those that no quotes hold are left out."""
        items = self.get_completions(*self.get_completion_args())
        lines = ((item, _quoted(item.value) if item.type == "plain" else item.value) for item in items)
        return "\n".join(f"{item.type},{value}" for item, value in lines if value is not None)


def _quoted(text: str) -> str | None:
    """Word of a command line of bash, without a backslash: click's script for bash removes them."""
    if re.fullmatch(r"[\w@%+=:,./-]*", text):
        return text
    quote = next((mark for mark, ends in (("'", "'\\"), ('"', '"$`!\\')) if not set(ends) & set(text)), None)
    return None if quote is None else f"{quote}{text}{quote}"


_SHELLS: Final[dict[str, type[ShellComplete]]] = {"bash": _Bash, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print the script that completes hpckit's commands, options and names in a shell.

    It completes names of sites, and zones, bands and tiles of a campaign that was planned. Load it at the start of
    each shell, or save it where the shell looks for such scripts.

    \b
    Example:
      eval "$(hpckit completion bash)"
      hpckit completion zsh > ~/.zfunc/_hpckit
      hpckit completion fish > ~/.config/fish/completions/hpckit.fish
    """
    click.echo(script(shell), nl=False)


def script(shell: str) -> str:
    """Script of a shell."""
    return _SHELLS[shell](click.Group("hpckit"), {}, "hpckit", VARIABLE).source().lstrip("\n")


def answer(group: click.Command) -> int:
    """Answer a shell that asks; called at the start of the command line instead of a command.

    Returns
    -------
    int
        Exit code.
    """
    shell, _, instruction = os.environ[VARIABLE].partition("_")
    if shell not in _SHELLS or instruction not in ("source", "complete"):
        return 1
    asked = _SHELLS[shell](suggest(group), {}, "hpckit", VARIABLE)
    with suppress(OSError):  # the shell may stop listening
        click.echo(asked.source() if instruction == "source" else asked.complete())
    return 0


def suggest(command: click.Command) -> click.Command:
    """Give the parameters of a command, and of those in it, what suggests their values."""
    for param in command.params:
        if (names := _NAMES.get(_kind(command, param))) is not None:
            setattr(param, "shell_complete", partial(_items, names))  # noqa: B010 -- a method, replaced for one object
    for inner in getattr(command, "commands", {}).values():
        suggest(inner)
    return command


def _kind(command: click.Command, param: click.Parameter) -> str:
    """Name of what a parameter takes: `name` of `site show` is a site."""
    name = str(param.name)
    if name == "name" and command.name in ("show", "check") and isinstance(param, click.Argument):
        return "site"
    return {"sites": "site", "host": "site", "zones": "zone", "tiles": "tile", "index": "band"}.get(name, name)


def _items(
    names: Callable[[click.Context, str], Iterable[str]], context: click.Context, incomplete: str
) -> list[CompletionItem]:
    try:
        return [CompletionItem(name) for name in names(context, incomplete) if name.startswith(incomplete)]
    except Exception:  # the shell has no place for a message
        return []


def _sites(_context: click.Context, _incomplete: str) -> Iterable[str]:
    from hpckit.sites.places import site_files

    return sorted(site_files([Path.cwd()]))


def _of_run(read: Callable[[Names, str], Sequence[str]], context: click.Context, incomplete: str) -> Sequence[str]:
    """Names of the campaign that stands on the command line, or of the one in this folder."""
    from hpckit.runs.names import names_of

    # Click leaves arguments unread where an option has no value yet.
    found = names_of(Path(context.params.get("campaign") or next(iter(context.args), _USUAL)))
    return [] if found is None else read(found, incomplete)


_NAMES: Final[dict[str, Callable[[click.Context, str], Iterable[str]]]] = {
    "site": _sites,
    "zone": partial(_of_run, lambda names, begin: names.zones(begin)),
    "band": partial(_of_run, lambda names, _: names.bands()),
    "tile": partial(_of_run, lambda names, _: names.tiles()),
    "reduction": partial(_of_run, lambda names, _: names.reductions()),
    "composite": partial(_of_run, lambda names, _: names.reductions("composite")),
    "method": partial(_of_run, lambda names, _: names.methods()),
}
