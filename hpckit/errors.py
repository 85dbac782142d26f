"""Errors that are meant for a person: one sentence of what is wrong, one hint of what to do.

The command line prints them without a traceback and exits with `exit_code`.
"""

from __future__ import annotations

EX_FAILED = 1
"""Exit code of a named failure."""
EX_USAGE = 2
"""Exit code of a wrong command line."""
EX_TEMPFAIL = 75
"""Exit code of a failure that may pass by itself (sysexits.h, EX_TEMPFAIL)."""


class HpckitError(Exception):
    """Base of all errors that hpckit raises on purpose.

    Parameters
    ----------
    message : str
        One sentence that names the file, field or unit at fault.
    hint : str, optional
        What the user can do about it.
    """

    exit_code = EX_FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Message, followed by the cause where there is one."""
        cause = self.__cause__
        return f"{self.message}: {cause}" if cause is not None else self.message


class CampaignError(HpckitError, ValueError):
    """The campaign file, or something that it points to, is wrong."""


class AoiError(HpckitError, ValueError):
    """An area of interest cannot be read or makes no sense."""


class GridError(HpckitError, ValueError):
    """A grid or tile name is unknown or malformed."""


class SceneError(HpckitError):
    """A product is incomplete, broken or of an unsupported kind."""


class CatalogueError(HpckitError):
    """A catalogue of scenes cannot be read or is empty."""


class CubeError(HpckitError):
    """A cube is missing, of another layout, or damaged."""


class ZoneError(HpckitError, ValueError):
    """A zone layer is unusable: no identifiers, duplicates, no CRS, nothing inside."""


class PlanError(HpckitError):
    """A plan cannot be made, or cannot fit."""


class RunError(HpckitError):
    """A run directory is missing, damaged or of another campaign."""


class BusyError(RunError):
    """Another process is working on the same run."""

    exit_code = EX_TEMPFAIL


class SpoolError(HpckitError):
    """A spool file is damaged or of an unknown format."""


class SpoolFormatError(SpoolError):
    """A spool file of a format that this version does not know; it may be sound."""


class StoreError(HpckitError):
    """The store refused, is read-only or of another schema."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached just now; what was spooled is kept."""

    exit_code = EX_TEMPFAIL


class SiteError(HpckitError, ValueError):
    """A site file is wrong, unknown, or does not fit the cluster."""


class SchedulerError(HpckitError):
    """The scheduler refused, or said something that makes no sense."""


class SchedulerUnavailableError(SchedulerError):
    """The scheduler does not answer just now; jobs that it has go on."""

    exit_code = EX_TEMPFAIL


class SubmissionError(HpckitError):
    """Jobs cannot be submitted, followed or retried."""


class ImageError(HpckitError):
    """An image cannot be described, built or used."""


class StepError(HpckitError):
    """A command line of a campaign's steps cannot run, or failed."""


class MpiError(HpckitError):
    """Ranks were started that cannot work together."""


class LoginError(HpckitError):
    """A login to a site does not work; the message says why."""
