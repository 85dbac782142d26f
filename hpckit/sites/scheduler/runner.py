"""The one place that starts the scheduler's programs, here or on a login node."""

from __future__ import annotations

import os
import subprocess

from hpckit.errors import SchedulerError
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.model import Answer, Command


class LocalRunner:
    """Runs commands on this machine.

    Parameters
    ----------
    scheduler : Scheduler
        Whose commands they are: variables that it does not want to reach them are kept from them.
        `SBATCH_ARRAY_INX` in the environment turns a plain job into an array.
    timeout_s : float
        After which a command is given up, with exit code 124.
    """

    def __init__(self, scheduler: Scheduler, timeout_s: float = 90) -> None:
        self._scheduler = scheduler
        self._timeout_s = timeout_s

    def __call__(self, command: Command) -> Answer:
        """Run a command.

        Raises
        ------
        SchedulerError
            If there is no such program here.
        """
        unset, needed = self._scheduler.unset, self._scheduler.kept
        kept = {key: value for key, value in os.environ.items() if not key.startswith(unset) or key in needed}
        try:
            done = subprocess.run(
                command.argv,
                env={**kept, **command.environment},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._timeout_s,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Answer(command, 124, "", f"no answer within {self._timeout_s:.0f} s")
        except (FileNotFoundError, PermissionError):
            raise SchedulerError(
                f"there is no {command.argv[0]} on this machine",
                hint="work on a login node of the cluster, or name the site: `hpckit --host SITE …`",
            ) from None
        return Answer(command, done.returncode, done.stdout, done.stderr)
