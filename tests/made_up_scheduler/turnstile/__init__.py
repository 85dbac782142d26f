"""Turnstile: people with tickets pass a gate. Its words are its own: `t17 2 walking`, `t17 0 left 3`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpckit.errors import SchedulerError, SchedulerUnavailableError
from hpckit.sites.parts import Partition
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.facts import Facts, ask
from hpckit.sites.scheduler.model import Answer, Command, FoundJob, Job, Runner, Sighting, State, Variables

_STATES = {
    "queueing": State.PENDING,
    "shut": State.HELD,
    "walking": State.RUNNING,
    "thrown": State.CANCELLED,
    "late": State.TIMEOUT,
}


class Turnstile(Scheduler):
    """Turnstile."""

    name = "turnstile"
    title = "Turnstile"
    variables = Variables(job="TURN_TICKET", index="TURN_PLACE", folder="TURN_FROM", passed=("TURN_*",))
    unset = ("TURN_",)
    kept = ("TURN_SPOOL",)
    array_size = 50
    submit_limit = 500
    programs = ("tsend", "tlist", "tdrop", "topen")
    asked_by = "tlist"
    oldest = (3, 0)
    oldest_title = "Turnstile 3"

    def submit(
        self,
        job: Job,
        after: Sequence[str],
        *,
        hold: bool,
        mirrored: str | None = None,
        index: int | None = None,
        beside: str | None = None,
    ) -> Command:
        """`tsend`."""
        if mirrored is not None:
            raise SchedulerError("Turnstile has no dependencies between elements", hint="use --chain stages")
        words = ["tsend", *(["--shut"] if hold else []), *(word for each in after for word in ("--behind", each))]
        return Command((*words, *([] if index is None else ["--only", str(index)]), str(job.script)))

    def read_submit(self, answer: Answer) -> str:
        """`ticket t17`."""
        _require(answer)
        found = re.fullmatch(r"ticket (t\d+)", answer.stdout.strip())
        if found is None:
            raise SchedulerError(f"tsend said {answer.stdout!r} where a ticket is expected")
        return found[1]

    def query(self, jobs: Sequence[str]) -> Command:
        """`tlist`."""
        return Command(("tlist", *jobs))

    def read_query(self, answer: Answer) -> list[Sighting]:
        """A line for each element, `*` for those that have not started; strangers are named on stderr."""
        if answer.code != 4:
            _require(answer)
        unknown = re.findall(r"no ticket (t\d+)", answer.stderr)
        denied = [Sighting(job, None, State.UNKNOWN, "", "no such ticket", denied=True) for job in unknown]
        return [*(_sighting(line.split()) for line in answer.stdout.splitlines()), *denied]

    def history(self, jobs: Sequence[str]) -> Command | None:
        """Tickets are kept for ever."""
        return self.query(jobs)

    def cancel(self, jobs: Sequence[str]) -> Command:
        """`tdrop`."""
        return Command(("tdrop", *jobs))

    def release(self, jobs: Sequence[str]) -> Command:
        """`topen`."""
        return Command(("topen", *jobs))

    def find(self, jobs: Sequence[Job], beside: str | None = None) -> Command:
        """`tlist --mine`."""
        return Command(("tlist", "--mine"))

    def read_find(self, answer: Answer, jobs: Sequence[Job]) -> list[FoundJob]:
        """Ticket, name and script, by tabulators."""
        _require(answer)
        names = {job.name for job in jobs}
        rows = [line.split("\t") for line in answer.stdout.splitlines()]
        return [FoundJob(*row) for row in rows if row[1] in names]

    def check_done(self, answer: Answer) -> None:
        """Nothing may go wrong."""
        _require(answer)

    def element_id(self, job: str, index: int | None) -> str:
        """`t17/2`."""
        return job if index is None else f"{job}/{index}"

    def remedy(self, reason: str, identifier: str) -> str:
        """Shut tickets are opened."""
        return f"`topen {identifier.partition('/')[0]}`"

    def probe(self, runner: Runner) -> Facts:
        """`tlist --about`: version and gates."""
        facts = Facts(self.name)
        about = re.search(r"Turnstile (\S+), (\d+) gates", ask(runner, facts, "tlist", "--about"))
        if about is not None:
            facts.version, facts.array_size = about[1], self.array_size
            facts.partitions.append(Partition(name="", cores=int(about[2])))
        return facts


def _sighting(words: list[str]) -> Sighting:
    ticket, place, word, *rest = words
    code = int(rest[0]) if rest else None
    left = State.SUCCEEDED if code == 0 else State.FAILED
    state = left if word == "left" else _STATES.get(word, State.UNKNOWN)
    return Sighting(ticket, None if place == "*" else int(place), state, word, exit_code=code)


def _require(answer: Answer) -> None:
    if answer.code == 124:
        raise SchedulerUnavailableError(f"Turnstile does not answer: {answer.stderr}")
    if answer.code != 0:
        raise SchedulerError(f"{answer.command.argv[0]}: {answer.stderr.strip() or f'exit code {answer.code}'}")
