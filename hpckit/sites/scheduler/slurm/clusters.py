"""Several clusters behind one Slurm (`--clusters`): a job's number is unique on its own cluster only.

So the cluster is part of a job's id, `1234;rome`, as `sbatch --parsable` prints it, and every command that names
the job names the cluster too.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hpckit.errors import SchedulerError
from hpckit.sites.scheduler.model import Command

_ASKED: Final = re.compile(r"(?:--clusters?|-M)(?:=(.*)|)|-M(.+)", re.DOTALL)
_VARIABLES: Final = ("SBATCH_CLUSTERS", "SLURM_CLUSTERS")


def split_id(identifier: str) -> tuple[str, str]:
    """Number and cluster of a job; no cluster is the default one.

    >>> split_id("1234;rome"), split_id("1234")
    (('1234', 'rome'), ('1234', ''))
    """
    number, _, cluster = identifier.partition(";")
    return number, cluster


def join_id(number: str, cluster: str) -> str:
    """Id of a job by its number and cluster."""
    return f"{number};{cluster}" if cluster else number


def asked_clusters(directives: Iterable[str]) -> str:
    """Clusters that lines for sbatch name, as they write them; empty if they name none. The last one holds.

    >>> asked_clusters(["--mail-type=FAIL", "--clusters=rome,genoa"]), asked_clusters(["-M 'serial'  # LRZ"])
    ('rome,genoa', 'serial')
    """
    found = ""
    for line in directives:
        words = _words(line)
        for word, after in zip(words, [*words[1:], ""], strict=True):
            match = _ASKED.fullmatch(word)
            if match is not None:
                found = next((text for text in match.groups() if text is not None), after)
    return found


def clusters_of_environment(environment: Mapping[str, str], directives: Sequence[str]) -> list[str]:
    """Directive for the clusters that the environment names (`module load cluster/…` does), unless directives do."""
    named = next((environment[name] for name in _VARIABLES if environment.get(name)), "")
    return [f"--clusters={named}"] if named and not asked_clusters(directives) else []


def at(clusters: Iterable[str]) -> list[str]:
    """Option that sends a command of Slurm to clusters; none for the default one."""
    named = ",".join(dict.fromkeys(name for name in clusters if name))
    return ["-M", named] if named else []


def at_one(jobs: Sequence[str]) -> tuple[list[str], list[str]]:
    """The same for jobs of one cluster, and their numbers.

    Raises
    ------
    SchedulerError
        If they are of several: commands that change jobs take one cluster.
    """
    clusters = {split_id(job)[1] for job in jobs}
    if len(clusters) > 1:
        names = ", ".join(sorted(name or "the default one" for name in clusters))
        raise SchedulerError(f"jobs of several clusters ({names}) in one command", hint="cancel them one by one")
    return at(clusters), [split_id(job)[0] for job in jobs]


def sections(command: Command, text: str) -> Iterable[tuple[str, str]]:
    """Lines that squeue printed, each with the cluster that it is of: where several were asked, headings say it."""
    argv = command.argv
    cluster = argv[argv.index("-M") + 1] if "-M" in argv else ""
    for line in text.splitlines():
        heading = re.fullmatch(r"CLUSTER: (\S+)\s*", line)
        if heading is not None:
            cluster = heading.group(1)
        else:
            yield cluster, line


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split()
