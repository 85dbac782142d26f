"""What every scheduler must do: a class of tests for pytest, that the tests of each scheduler derive from.

::

    class TestMine(SchedulerTests):
        @pytest.fixture
        def scheduler(self, …) -> Scheduler:
            return Mine()      # its commands are on the PATH, and jobs run
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from hpckit.errors import SchedulerError, SchedulerUnavailableError, SubmissionError
from hpckit.sites.jobscript.script import render
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.model import Answer, Command, Job, Resources, Sighting, State
from hpckit.sites.scheduler.registry import scheduler_named, scheduler_names
from hpckit.sites.scheduler.runner import LocalRunner
from hpckit.sites.site import Site

_NAME: Final = "hp-contract-1-ingest"
_WAIT_S: Final = 90


@dataclass(frozen=True)
class Bench:
    """A scheduler that runs, and a folder that its jobs see."""

    scheduler: Scheduler
    site: Site
    folder: Path

    def __call__(self, command: Command) -> Answer:
        """Run a command of the scheduler."""
        return LocalRunner(self.scheduler, 60)(command)

    def job(self, work: str, *, name: str = _NAME, **fields: Any) -> Job:
        """A job whose elements run lines of bash; `$element` is the number of the element.

        Parameters
        ----------
        **fields
            Of the job.
        """
        script = self.folder / f"{len(list(self.folder.glob('*.sh')))}.sh"
        program = script.with_suffix(".program")
        take = 'while [ "$1" != --element ]; do shift; done; element=$2'
        program.write_text(f"#!/bin/bash\n{take}\ncd {str(self.folder)!r}\n{work}\n")
        program.chmod(0o755)
        (self.folder / "logs").mkdir(exist_ok=True)
        resources = Resources(memory_mib=200, walltime_s=600, partition=self.site.partition(None).name)
        job = Job(name, "ingest", script, self.folder / "logs", resources, **fields)
        text = render(job, self.site, run=self.folder, submission=1, command=[str(program)])
        script.write_text(text)
        script.chmod(0o755)
        return job

    def submit(self, job: Job, *after: str, hold: bool = False, **options: Any) -> str:
        """Submit a job; its id."""
        return self.scheduler.read_submit(self(self.scheduler.submit(job, after, hold=hold, **options)))

    def seen(self, *ids: str) -> dict[tuple[str, int | None], Sighting]:
        """What queue and history say, by job and index; what is over counts."""
        found = {(item.job, item.index): item for item in self._asked(*ids)}
        command = self.scheduler.history(ids)
        try:
            ended = [] if command is None else self.scheduler.read_history(self(command))
        except SchedulerError:
            ended = []  # no accounting
        return found | {(item.job, item.index): item for item in ended if item.state.is_over}

    def states(self, identifier: str, count: int) -> list[State]:
        """State of each element; unknown where nothing is said of it."""
        seen = self.seen(identifier)
        rest = seen.get((identifier, None))
        each = [seen.get((identifier, index), rest) for index in range(count)]
        return [State.UNKNOWN if item is None else item.state for item in each]

    def state(self, identifier: str) -> State:
        """State of a job as a whole, with what is said of a hold."""
        found = self._asked(identifier)
        if any(item.state is State.HELD and not item.reason for item in found):
            command = self.scheduler.ask_held([identifier])
            found = found if command is None else self.scheduler.read_held(self(command))
        states = {item.state for item in found}
        return states.pop() if len(states) == 1 else State.UNKNOWN

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition."""
        limit = time.monotonic() + _WAIT_S
        while not condition():
            assert time.monotonic() < limit, f"waited too long for {what}"
            time.sleep(0.3)

    def finish(self, identifier: str, count: int = 1) -> list[State]:
        """Wait for the end of all elements: states that no longer change, or that the scheduler has forgotten."""
        self.until(lambda: not any(item.state.is_live for item in self.seen(identifier).values()), "the end of a job")
        return self.states(identifier, count)

    def said(self) -> list[str]:
        """Lines that elements wrote, in this order."""
        path = self.folder / "said"
        return path.read_text().splitlines() if path.exists() else []

    def _asked(self, *ids: str) -> list[Sighting]:
        return self.scheduler.read_query(self(self.scheduler.query(ids)))


class SchedulerTests:
    """Derive from it, and give the fixture `scheduler`; `fields` of the site file, where the cluster needs some."""

    fields: dict[str, Any] = {}  # noqa: RUF012 -- derived classes give their own
    """Of the site file."""

    @pytest.fixture
    def scheduler(self) -> Scheduler:
        """A scheduler whose commands are on the PATH, and that runs jobs."""
        raise NotImplementedError("give the fixture `scheduler`")

    @pytest.fixture
    def bench(self, scheduler: Scheduler, tmp_path: Path) -> Bench:
        """The scheduler and its site."""
        site = Site.model_validate({"name": "bench", "scheduler": scheduler.name, **self.fields})
        (tmp_path / "bench").mkdir()
        return Bench(scheduler, site, tmp_path / "bench")

    def test_it_is_found_by_its_name(self, scheduler: Scheduler) -> None:
        """By site files."""
        assert scheduler.name in scheduler_names()
        assert type(scheduler_named(scheduler.name)) is type(scheduler)
        assert scheduler.title and scheduler.array_size >= 1 and scheduler.submit_limit >= 1

    @pytest.mark.parametrize("stage", ["ingest", "gate", "sync"])
    def test_scripts_are_bash(self, bench: Bench, stage: str) -> None:
        """For bash, whatever the header says."""
        job = replace(bench.job("true", count=3, throttle=2), stage=stage)
        text = render(job, bench.site, run=bench.folder, submission=1, command=["hpckit"])
        assert text.startswith("#!/bin/bash\n")
        done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    def test_values_of_directives(self, scheduler: Scheduler) -> None:
        """Plain ones stay; a line break cuts no directive."""
        assert scheduler.directive("/scratch/a-b_c/x.out") == "/scratch/a-b_c/x.out"
        with pytest.raises(SubmissionError):
            scheduler.directive("a\nb")

    def test_refusals_are_errors(self, bench: Bench) -> None:
        """And so are answers in which no id is."""
        command = bench.scheduler.submit(bench.job("true"), (), hold=False)
        for code, out, err in ((1, "", "no"), (0, "", ""), (0, "welcome to the cluster\n", "")):
            with pytest.raises(SchedulerError):
                bench.scheduler.read_submit(Answer(command, code, out, err))

    def test_silence_is_no_answer(self, bench: Bench) -> None:
        """A command that was given up says nothing of any job."""
        job = bench.job("true")
        identifier = bench.submit(job)
        query, find = bench.scheduler.query([identifier]), bench.scheduler.find([job])
        with pytest.raises(SchedulerUnavailableError):
            bench.scheduler.read_query(Answer(query, 124, "", "no answer within 60 s"))
        with pytest.raises(SchedulerError):
            bench.scheduler.read_find(Answer(find, 124, "", "no answer within 60 s"), [job])
        bench.finish(identifier)

    def test_an_array(self, bench: Bench) -> None:
        """Each index is an element, with an output of its own; ids distinguish them."""
        job = bench.job("echo $element >> said", first=4, count=3)
        identifier = bench.submit(job)
        assert set(bench.finish(identifier, 3)) <= {State.SUCCEEDED, State.ENDED, State.UNKNOWN}
        assert sorted(bench.said()) == ["4", "5", "6"]
        for index in range(3):
            output = (job.logs / f"{job.script.stem}.{index}.out").read_text()
            assert "exit code 0" in output and f"element {4 + index} " in output
        ids = {bench.scheduler.element_id(identifier, index) for index in (0, 1, 2)}
        assert len(ids) == 3 and bench.scheduler.element_id(identifier, None) == identifier

    def test_an_array_of_one(self, bench: Bench) -> None:
        """Some schedulers have no such arrays."""
        job = bench.job("echo $element >> said", first=7)
        bench.finish(bench.submit(job))
        assert bench.said() == ["7"]
        assert "exit code 0" in (job.logs / f"{job.script.stem}.0.out").read_text()

    def test_an_element_alone(self, bench: Bench) -> None:
        """Where a site has no arrays, each element is a job of its own."""
        arrays = bench.site.arrays.model_copy(update={"supported": False})
        alone = replace(bench, site=bench.site.model_copy(update={"arrays": arrays}))
        job = alone.job("echo $element >> said", first=2, count=3)
        alone.finish(alone.submit(job, index=1))
        assert alone.said() == ["3"]
        assert "exit code 0" in (job.logs / f"{job.script.stem}.1.out").read_text()

    def test_a_failure(self, bench: Bench) -> None:
        """One element's is not the others'."""
        identifier = bench.submit(bench.job("[ $element != 1 ] || exit 3", count=2))
        good, bad = bench.finish(identifier, 2)
        assert good in (State.SUCCEEDED, State.ENDED, State.UNKNOWN)
        assert bad in (State.FAILED, State.ENDED, State.UNKNOWN)

    def test_a_held_job_waits_until_it_is_released(self, bench: Bench) -> None:
        """And is seen to."""
        identifier = bench.submit(bench.job("echo ran >> said"), hold=True)
        bench.until(lambda: bench.states(identifier, 1) == [State.HELD], "a held job")
        time.sleep(1)
        assert bench.states(identifier, 1) == [State.HELD] and not bench.said()
        bench.scheduler.check_done(bench(bench.scheduler.release([identifier])))
        bench.finish(identifier)
        assert bench.said() == ["ran"]

    def test_a_job_waits_for_others_whatever_their_end(self, bench: Bench) -> None:
        """Success is what the gate judges."""
        first = bench.submit(bench.job("sleep 1; echo first >> said; exit 1", count=2), hold=True)
        second = bench.submit(bench.job("echo second >> said"), first)
        bench.scheduler.check_done(bench(bench.scheduler.release([first])))
        bench.finish(second)
        assert bench.said() == ["first", "first", "second"]

    def test_a_job_that_waits_for_others_is_not_held(self, bench: Bench) -> None:
        """Nobody needs to do anything about it; one that a person holds is held, whatever it waits for."""
        first = bench.submit(bench.job("true"), hold=True)
        second = bench.submit(bench.job("true", count=2), first)
        bench.until(lambda: bench.state(first) is State.HELD, "a held job")
        bench.until(lambda: bench.state(second) is State.PENDING, "a job that waits")
        bench.scheduler.check_done(bench(bench.scheduler.cancel([second, first])))
        bench.finish(second, 2)

    def test_jobs_are_found_by_name_and_cancelled(self, bench: Bench) -> None:
        """Those of exactly this name, and only while they wait or run."""
        mine = bench.job("echo ran >> said; until [ -e stop ]; do sleep 0.2; done", count=2)
        other = bench.job("echo other >> said", name=f"{_NAME}-0")
        one, two = bench.submit(mine, hold=True), bench.submit(other, hold=True)
        find = bench.scheduler.find([mine], one)
        found = bench.scheduler.read_find(bench(find), [mine])
        assert [(item.id, item.name) for item in found] == [(one, mine.name)]
        assert found[0].script in ("", str(mine.script))
        bench.scheduler.check_done(bench(bench.scheduler.release([one])))
        bench.until(bench.said, "a job that runs")
        bench.scheduler.check_done(bench(bench.scheduler.cancel([one])))
        (bench.folder / "stop").touch()  # for schedulers that let jobs end in good order
        assert State.SUCCEEDED not in bench.finish(one, 2)
        bench.until(lambda: not bench.scheduler.read_find(bench(find), [mine]), "a job that is gone")
        bench.scheduler.check_done(bench(bench.scheduler.cancel([one])))
        bench.scheduler.check_done(bench(bench.scheduler.cancel([two])))
        bench.finish(two)
        assert "other" not in bench.said()

    def test_one_question_covers_all_jobs(self, bench: Bench) -> None:
        """Also where some of them are over."""
        over = bench.submit(bench.job("true"))
        bench.finish(over)
        held = bench.submit(bench.job("true"), hold=True)
        seen = bench.scheduler.read_query(bench(bench.scheduler.query([over, held])))
        states = {item.job: item.state for item in seen}
        assert states[held] is State.HELD and not states.get(over, State.ENDED).is_live
        bench.scheduler.check_done(bench(bench.scheduler.cancel([held])))

    def test_what_disturbs_the_commands_does_not_reach_them(
        self, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Variables with the prefixes that it names, but those that it needs."""
        for prefix in scheduler.unset:
            monkeypatch.setenv(f"{prefix}X", "disturbs")
        for name in scheduler.kept:
            monkeypatch.setenv(name, "needed")
        lines = LocalRunner(scheduler)(Command(("env",))).stdout.splitlines()
        assert not any(line.endswith("X=disturbs") for line in lines)
        assert {f"{name}=needed" for name in scheduler.kept} <= set(lines)
