"""The command line: `hpckit COMMAND`.

Commands are imported when they are called, so that `hpckit --help` loads nothing but click.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from hpckit.base.arrowimport import spare_pandas
from hpckit.base.distribution import namesake
from hpckit.base.processes import be_command, leave
from hpckit.base.version import __version__

_COMMANDS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Start": {
        "init": ("hpckit.cli.campaign:init", "Write a commented campaign file."),
        "check": ("hpckit.cli.campaign:check", "Check a campaign file and its inputs."),
        "schema": ("hpckit.cli.campaign:schema", "Print the JSON schema of campaign or site files."),
        "demo": ("hpckit.cli.demo:demo", "Make a small Sentinel-2 series and run a campaign on it."),
        "completion": ("hpckit.cli.completion:completion", "Print the script that completes commands in a shell."),
        "doctor": ("hpckit.cli.doctor:doctor", "Examine the environment, and say what to do about it."),
        "notebooks": ("hpckit.cli.demo:notebooks", "Copy the teaching notebooks into a folder."),
    },
    "Data": {
        "tile": ("hpckit.cli.tile:tile", "Cut an area of interest into tiles."),
        "scenes": ("hpckit.cli.scenes:scenes", "Find products; list the content of a catalogue."),
        "fetch": ("hpckit.cli.fetch:fetch", "Copy images from servers, for nodes without a network."),
    },
    "Production": {
        "plan": ("hpckit.cli.run:plan", "Show the work and the cost of a run."),
        "run": ("hpckit.cli.run:run", "Run all stages on this machine, and load the results."),
        "status": ("hpckit.cli.run:status", "Show the progress and the failures of a run."),
        "metrics": ("hpckit.cli.metrics:metrics", "Write the state of runs as metrics for Prometheus."),
        "graph": ("hpckit.cli.graph:graph", "Compute process graphs of openEO on the cubes of campaigns."),
        "update": ("hpckit.cli.update:update", "Work on what is new, if anything is; for cron."),
        "verify": ("hpckit.cli.run:verify", "Find missing, corrupt and stale files of the cube and composites."),
        "sync": ("hpckit.cli.sync:sync", "Load spooled results into the store."),
        "clean": ("hpckit.cli.clean:clean", "Remove spool, logs and inputs that are needed no more."),
        "store": ("hpckit.cli.store:store", "Show who uses a store, and upgrade its tables."),
        "markers": ("hpckit.cli.markers:markers", "Find events in series: mowing, ploughing, harvest, own rules."),
    },
    "Cluster": {
        "submit": ("hpckit.cli.cluster:submit", "Submit a campaign to Slurm or PBS as job arrays."),
        "watch": ("hpckit.cli.cluster:watch", "Follow a submitted run until it is over."),
        "logs": ("hpckit.cli.cluster:logs", "Show the log of a unit, element or job."),
        "retry": (
            "hpckit.cli.cluster:retry",
            "Resubmit unfinished units, with more memory or time where they ran out.",
        ),
        "cancel": ("hpckit.cli.cluster:cancel", "Cancel the jobs of a run."),
        "federation": ("hpckit.cli.federation:federation", "Share a campaign among several sites."),
        "site": ("hpckit.cli.site:site", "List, show, validate, probe and check site files."),
        "image": ("hpckit.cli.image:image", "Build, test and copy the Apptainer image in which jobs run."),
        "dask": ("hpckit.cli.dask:dask", "Start Dask workers on a cluster, for notebooks."),
        "login": ("hpckit.cli.login:login", "Log in to clusters by ssh: show, check, open, close."),
    },
    "Look": {
        "series": ("hpckit.cli.look:series", "Time series of a zone: table, CSV, JSON or plot."),
        "quicklook": ("hpckit.cli.look:quicklook", "Picture of one date of the cube, with zones."),
        "overviews": ("hpckit.cli.look:overviews", "Make overviews of cube and composites, for maps far out."),
        "quality": ("hpckit.cli.look:quality", "Zones with gaps, too small, half outside, heterogeneous."),
        "crate": ("hpckit.cli.provenance:crate", "Write how a run was made, as an RO-Crate."),
        "reproduce": ("hpckit.cli.provenance:reproduce", "Make the outputs of a crate again, and compare digests."),
        "report": ("hpckit.cli.look:report", "Report of a run as one HTML page."),
        "export": ("hpckit.cli.export:export", "Signatures to GeoParquet, CSV or GeoPackage."),
        "serve": ("hpckit.cli.serve:serve", "Results over HTTP: viewer, STAC API, JRC's REST."),
    },
}


_HIDDEN: Final = {
    "worker": "hpckit.cli.cluster:worker",
    "gate": "hpckit.cli.cluster:gate",
    "kernels": "hpckit.cli.cluster:kernels",
    "part": "hpckit.cli.federation:part",
}
"""Called by job scripts, `submit` and definition files of images."""
_LOADING: Final = frozenset(
    {"check", "demo", "export", "fetch", "graph", "kernels", "overviews", "plan", "quicklook", "reproduce", "retry"}
    | {"run", "scenes", "series", "submit", "sync", "tile", "update", "verify", "worker"}
)
"""Commands that read rasters or tables, whose libraries take most of what a process maps."""
_COLLECTED_AFTER: Final = 100_000
"""New objects after which Python searches for circles; its 700 make it look at imported modules again and again."""
_ASKED: Final = "_HPCKIT_COMPLETE"
"""Set by the script of a shell that asks how to complete what is typed."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return [name for section in _COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        places = {name: place for section in _COMMANDS.values() for name, (place, _) in section.items()} | _HIDDEN
        if cmd_name not in places:
            return None
        module, _, attribute = places[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        if _ASKED in os.environ:
            from hpckit.cli.completion import suggest

            return suggest(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section, without importing them."""
        for title, section in _COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in section.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a command, and name the nearest one if there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.list_commands(ctx), n=1)
            if close:
                raise click.UsageError(f"{error.message} Did you mean {close[0]!r}?", ctx) from None
            raise


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try `hpckit demo`; -h shows the help of each command.",
)
@click.version_option(__version__, prog_name="hpckit")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option("--host", metavar="SITE", help="Copy the campaign to a site and run the command on its login node.")
def cli(debug: bool, host: str | None) -> None:
    """Turn Sentinel products into data cubes, composites and time series of parcels.

    \b
    Example:
      hpckit init campaign/ && hpckit check campaign/campaign.yaml
      hpckit run campaign/campaign.yaml
      hpckit --host snellius submit campaign/campaign.yaml
    """


def _begin() -> None:
    """What a process does that is this command and nothing else."""
    be_command()
    spare_pandas()
    gc.set_threshold(_COLLECTED_AFTER)
    if _ASKED in os.environ:
        from hpckit.cli.completion import answer

        sys.exit(answer(cli))


def main(args: list[str] | None = None) -> None:
    """Run the command line; errors that are meant for people are one sentence and an exit code."""
    if args is not None:
        _main(args)
        return
    code: int | str | None = None
    try:
        _main(None)
    except SystemExit as ended:
        code = ended.code
    if isinstance(code, str):  # as Python itself does
        print(code, file=sys.stderr)
        code = 1
    leave(code or 0)


def _main(args: list[str] | None) -> None:
    arguments = sys.argv[1:] if args is None else args
    debug = "--debug" in arguments
    _require_address_space(arguments)
    # Nothing here uses BLAS, and numpy's starts a thread on each core when it is imported.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if args is None:
        _begin()
    if foreign := namesake(__file__.rpartition("/cli/")[0]):
        click.echo(f"hpckit: {foreign}", err=True)
    try:
        host, rest = _split_host(arguments)
        if host is not None:
            from hpckit.jobs.remote import run_there

            sys.exit(run_there(host, rest))
        # Not standalone: click hands the code of --help and ctx.exit() back instead of leaving.
        code = cli.main(arguments, standalone_mode=False)
        if isinstance(code, int):
            sys.exit(code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("hpckit: stopped; finished work is kept, and the same command continues", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        if debug:
            raise
        sys.exit(_explain(error))


def _require_address_space(arguments: Sequence[str]) -> None:
    """Refuse commands whose libraries cannot be loaded here: some of them end the process without a word."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    from hpckit.base.allocator import spare_address_space
    from hpckit.base.quantities import RAISE_LIMIT, too_little_address_space

    spare_address_space()
    command = next((word for word in arguments if not word.startswith("-")), "")
    if command not in _LOADING or {"-h", "--help", "--host"} & set(arguments):
        return
    if lacks := too_little_address_space():
        click.echo(f"hpckit: {lacks}\n  hint: {RAISE_LIMIT}", err=True)
        sys.exit(1)


def _split_host(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take `--host SITE` out of what stands before the command."""
    for place, word in enumerate(arguments):
        if not word.startswith("-"):
            break
        if word == "--host" and place + 2 < len(arguments):
            return arguments[place + 1], [*arguments[:place], *arguments[place + 2 :]]
        if word.startswith("--host="):
            return word.partition("=")[2], [*arguments[:place], *arguments[place + 1 :]]
    return None, list(arguments)


def _explain(error: Exception) -> int:
    """Say in a sentence what went wrong, and give the exit code."""
    from hpckit.base.quantities import RAISE_LIMIT, tight_address_space
    from hpckit.errors import EX_FAILED, EX_TEMPFAIL, HpckitError, is_temporary

    if isinstance(error, HpckitError):
        click.echo(f"hpckit: {error}", err=True)
        if error.hint:
            click.echo(f"  hint: {error.hint}", err=True)
        return EX_TEMPFAIL if error.exit_code == EX_FAILED and is_temporary(error) else error.exit_code
    if isinstance(error, OSError):
        click.echo(f"hpckit: {error}", err=True)
        return EX_TEMPFAIL if is_temporary(error) else EX_FAILED
    if isinstance(error, MemoryError) or str(error) == "can't start new thread":
        what = "there is not enough memory" if isinstance(error, MemoryError) else "the system starts no more threads"
        limit = tight_address_space()
        click.echo(f"hpckit: {what}" + (f": {limit}" if limit else ""), err=True)
        click.echo("  hint: run with fewer workers, raise the limit, or run on a compute node", err=True)
        return EX_FAILED
    if isinstance(error, ImportError) and (limit := tight_address_space()):
        click.echo(f"hpckit: a library cannot be loaded ({error}): {limit}\n  hint: {RAISE_LIMIT}", err=True)
        return EX_FAILED
    click.echo(
        f"hpckit: an error in hpckit itself: {type(error).__name__}: {error}\n"
        "  hint: run it again with `hpckit --debug …` and report the traceback",
        err=True,
    )
    return EX_FAILED
