"""What a scheduler is: the one place that is asked where schedulers differ."""

from __future__ import annotations

import inspect
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from hpckit.errors import HpckitError, SchedulerError, SiteError, SubmissionError
from hpckit.sites.scheduler.facts import Facts
from hpckit.sites.scheduler.model import (
    Allowance,
    Answer,
    Command,
    FoundJob,
    Job,
    Runner,
    Sighting,
    State,
    Variables,
)

_PLAIN: Final = re.compile(r"[A-Za-z0-9_@%+=:,./^~-]*")


class Scheduler(ABC):
    """Builds commands and reads answers; runs nothing.

    A further scheduler is a class of this kind and a template `<name>.sh.j2` in the folder of its module. An entry
    point of the group `hpckit.schedulers` names it; site files write the entry point's name as `scheduler`.
    `hpckit.testing.scheduler.SchedulerTests` checks it.
    """

    name: ClassVar[str]
    """As in the site file."""
    title: ClassVar[str]
    """As people call it."""
    variables: ClassVar[Variables] = Variables()
    """What a job finds in its environment."""
    unset: ClassVar[tuple[str, ...]] = ()
    """Prefixes of variables that must not reach the commands, since they change what is asked."""
    kept: ClassVar[tuple[str, ...]] = ()
    """Variables with such a prefix that must reach them."""
    array_size: ClassVar[int]
    """Elements of the largest array, unless administrators or the site file say otherwise."""
    submit_limit: ClassVar[int] = 10_000
    """Jobs that one user may have, where a partition does not say."""
    programs: ClassVar[tuple[str, ...]] = ()
    """What hpckit calls; the first one submits."""
    asked_by: ClassVar[str] = ""
    """Program whose presence shows that the cluster has this scheduler; empty if it cannot be probed."""
    oldest: ClassVar[tuple[int, int]] = (0, 0)
    """Oldest version that is known to work."""
    oldest_title: ClassVar[str] = ""
    """The same, as people call it."""
    launchers: ClassVar[tuple[str, ...]] = ("mpirun", "mpiexec", "none")
    """Values of `mpi.launcher` that it allows."""
    mpi_part: ClassVar[str] = ""
    """Component by which Open MPI asks it for the nodes of a job; empty if every Open MPI can."""
    here: ClassVar[bool] = False
    """Whether its jobs are processes of this machine."""
    keeps_output: ClassVar[bool] = False
    """Whether the output of a job may stay on its node until the job ends."""
    said: ClassVar[Mapping[State, re.Pattern[str]]] = {}
    """What it writes into the output of a job that it kills."""
    noise: ClassVar[re.Pattern[str] | None] = None
    """Lines that it and its launcher write at every end that is not good."""

    @property
    def template(self) -> str:
        """Name of the template of its job scripts."""
        return f"{self.name}.sh.j2"

    @property
    def templates(self) -> Path:
        """Folder with that template; hpckit's own lie in `jobscripts/`."""
        return Path(inspect.getfile(type(self))).parent

    @abstractmethod
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
        """Command that submits a job.

        Parameters
        ----------
        after : sequence of str
            Ids of jobs that must have ended, however they ended.
        hold : bool
            Keep it from starting.
        mirrored : str, optional
            Id of the array that `job.mirrors`.
        index : int, optional
            Submit only this element, as a job of its own.
        beside : str, optional
            Id of a job of the same submission: where a scheduler has several clusters, this one joins it.

        Raises
        ------
        SchedulerError
            If the scheduler has no such dependency.
        """

    @abstractmethod
    def read_submit(self, answer: Answer) -> str:
        """Id of the job.

        Raises
        ------
        SchedulerError
            If it was refused.
        SchedulerUnavailableError
            If the scheduler does not answer.
        """

    @abstractmethod
    def query(self, jobs: Sequence[str]) -> Command:
        """Command that asks for the elements of all jobs at once."""

    @abstractmethod
    def read_query(self, answer: Answer) -> list[Sighting]:
        """What is known; jobs that the scheduler has forgotten are left out, or come as denied.

        Raises
        ------
        SchedulerUnavailableError
            If the scheduler does not answer; nothing is known then.
        """

    def history(self, jobs: Sequence[str]) -> Command | None:
        """Command that asks how elements ended and what they used; None if there is none."""
        return None

    def read_history(self, answer: Answer) -> list[Sighting]:
        """What is known of elements that ended."""
        return [sighting for sighting in self.read_query(answer) if sighting.state.is_over]

    @abstractmethod
    def cancel(self, jobs: Sequence[str]) -> Command:
        """Command that cancels jobs."""

    @abstractmethod
    def release(self, jobs: Sequence[str]) -> Command:
        """Command that lets held jobs start."""

    @abstractmethod
    def find(self, jobs: Sequence[Job], beside: str | None = None) -> Command:
        """Command that lists this user's jobs that bear the names of these and are not over.

        Parameters
        ----------
        beside : str, optional
            Id of one of them, where one is known: only its cluster is asked.
        """

    @abstractmethod
    def read_find(self, answer: Answer, jobs: Sequence[Job]) -> list[FoundJob]:
        """What bears the name of one of these jobs, and nothing else.

        Raises
        ------
        SchedulerError
            If the scheduler refused or does not answer: then nothing is known to be ours.
        """

    @abstractmethod
    def check_done(self, answer: Answer) -> None:
        """Accept the answer to cancel or release; jobs that are gone already are no fault.

        Raises
        ------
        SchedulerError
            If it was refused.
        """

    def ask_held(self, jobs: Sequence[str]) -> Command | None:
        """Ask why jobs are held, and whether they only wait for others; None where `query` says it."""
        return None

    def read_held(self, answer: Answer) -> list[Sighting]:
        """State and reason of each job that `ask_held` asked for, as a whole.

        Raises
        ------
        SchedulerError
            If the answer makes no sense.
        """
        return []

    @abstractmethod
    def element_id(self, job: str, index: int | None) -> str:
        """How the scheduler calls one element."""

    def remedy(self, reason: str, identifier: str) -> str:
        """What to do about a job that is held for a reason; empty where that is not known."""
        return ""

    def directive(self, value: object) -> str:
        """A value as it stands in a directive line of a job script.

        Raises
        ------
        SubmissionError
            If the scheduler does not accept it.
        """
        text = one_line(value)
        if not is_plain(text):
            raise SubmissionError(
                f"{self.title} does not accept {text!r}: a value in a directive line has no spaces, quotes or shell "
                "characters",
                hint="move the campaign to another path, or correct the value in the site file",
            )
        return text

    def script_words(self, job: Job) -> Mapping[str, Any]:
        """Further words for its template."""
        return {}

    def directives_here(self, environment: Mapping[str, str], directives: Sequence[str]) -> list[str]:
        """Directives that this environment adds to those of the site file."""
        return []

    def mail(self, address: str) -> tuple[str, ...]:
        """Directives that let the scheduler send mail when a job, or a whole array, has ended; empty if it cannot."""
        return ()

    def place(self, job: Job) -> str:
        """Cluster that a job asks for, where there are several; empty for the default one."""
        return ""

    def require_one_place(self, jobs: Sequence[Job]) -> None:
        """Refuse jobs of one submission that cannot wait for each other.

        Raises
        ------
        SiteError
            If they are on several clusters.
        """
        named = {job.stage: self.place(job) for job in jobs}
        if len(set(named.values())) > 1:
            places = "; ".join(f"{stage}: {name or 'the default one'}" for stage, name in named.items())
            raise SiteError(
                f"the stages of one submission name different clusters ({places}), and jobs cannot wait for jobs "
                "elsewhere",
                hint="write `--clusters=…` into `directives` of the whole site, not of a stage",
            )

    def probe(self, runner: Runner) -> Facts:
        """What the cluster says of itself.

        Raises
        ------
        SiteError
            If it is of a kind that is not supported, or cannot be asked.
        """
        raise SiteError(
            f"{self.title} cannot be asked what the cluster has",
            hint="write the site file by hand: `hpckit site show NAME --file` prints an example",
        )

    def accounts(self, user: str) -> tuple[str, ...] | None:
        """Words of a command that lists what a user may charge; None if there is none."""
        return None

    def read_accounts(self, text: str) -> tuple[Allowance, ...]:
        """What that command printed."""
        return ()

    def free_cores(self, partition: str) -> Command | None:
        """Command that says how many cores are free now; None if it cannot be asked.

        Parameters
        ----------
        partition : str
            Partition or queue; empty for all.
        """
        return None

    def read_free_cores(self, answer: Answer) -> int | None:
        """How many; None if the answer does not say it.

        Raises
        ------
        SchedulerUnavailableError
            If the scheduler does not answer.
        """
        return None

    def submit_script(self, script: Path) -> Command:
        """Command that submits a script as it is."""
        raise SchedulerError(f"{self.title} takes no scripts that hpckit has not written")

    def dask_cluster(self) -> type[Any]:
        """Class of dask-jobqueue's clusters whose workers are jobs of this scheduler.

        Raises
        ------
        HpckitError
            If there is none.
        ImportError
            If Dask is not installed.
        """
        raise HpckitError(f"Dask workers cannot be jobs of {self.title}", hint="use a site with Slurm or PBS")

    def is_in_job(self, environment: Mapping[str, str]) -> bool:
        """Whether this environment is that of a job."""
        return bool(self.variables.job) and self.variables.job in environment

    def missing(self) -> list[str]:
        """Programs that are not found on this machine."""
        return [name for name in self.programs if shutil.which(name) is None]


def one_line(value: object) -> str:
    """Text of a value that no line break cuts.

    Raises
    ------
    SubmissionError
        If one does.
    """
    text = str(value)
    if "\n" in text or "\r" in text:
        raise SubmissionError(f"{text!r} holds a line break, which no scheduler takes; rename it")
    return text


def is_plain(text: str) -> bool:
    """Whether a text needs no quotes in any directive line."""
    return _PLAIN.fullmatch(text) is not None
