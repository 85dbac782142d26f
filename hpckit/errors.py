"""Errors that are meant for a person: one sentence of what is wrong, one hint of what to do.

The command line prints them without a traceback and exits with `exit_code`.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Final

EX_FAILED = 1
"""Exit code of a named failure."""
EX_USAGE = 2
"""Exit code of a wrong command line."""
EX_TEMPFAIL = 75
"""Exit code of a temporary failure (sysexits.h, EX_TEMPFAIL)."""


_PASSING: Final = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENOLCK,
        errno.EAGAIN,
        errno.EINTR,
        errno.EREMOTEIO,
        errno.ENOLINK,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENETRESET,
        errno.ECONNRESET,
        errno.ECONNREFUSED,
        errno.ECONNABORTED,
        524,
    }
)
"""What a mount, server or network says that does not answer; 524 is ENOTSUPP of Linux, of network mounts."""


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
    code = "hpckit"
    """Stable name of the kind of error, for programs: `store-unavailable`."""

    def __init_subclass__(cls) -> None:
        """Name the kind of error after its class."""
        super().__init_subclass__()
        words = re.findall(r"[A-Z][a-z0-9]*", cls.__name__.removesuffix("Error"))
        cls.code = "-".join(words).lower()

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Message, followed by the cause where there is one."""
        cause = self.__cause__
        return f"{self.message}: {cause}" if cause is not None else self.message


def is_temporary(error: BaseException) -> bool:
    """Whether an error may pass by itself: a file system, server or scheduler does not answer at the moment."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _PASSING:
            return True
        if isinstance(cause, HpckitError) and cause.exit_code == EX_TEMPFAIL:
            return True
        cause = cause.__cause__
    return False


class FileUnavailableError(HpckitError):
    """A file cannot be read at the moment; its state counts as unknown."""

    exit_code = EX_TEMPFAIL


class DamagedFileError(HpckitError):
    """A file of our own was read well, and is not what we write."""


class CampaignError(HpckitError, ValueError):
    """The campaign file, or something that it points to, is wrong."""


class VectorError(HpckitError, ValueError):
    """A vector file cannot be read, or does not say what it must."""


class AoiError(VectorError):
    """An area of interest cannot be read or makes no sense."""


class GridError(HpckitError, ValueError):
    """A grid or tile name is unknown or malformed."""


class SceneError(HpckitError):
    """A product is incomplete, broken or of an unsupported kind."""


class CatalogueError(HpckitError):
    """A catalogue of scenes cannot be read or is empty."""


class CatalogueUnavailableError(CatalogueError):
    """A catalogue on the network does not answer at the moment."""

    exit_code = EX_TEMPFAIL


class CubeError(HpckitError):
    """A cube is missing, of another layout, or damaged."""


class CubeUnavailableError(CubeError):
    """What a cube is made of cannot be read at the moment."""

    exit_code = EX_TEMPFAIL


class ShardError(CubeError):
    """A shard is gone, or is not the one that was written.

    Parameters
    ----------
    store : Path
        Cube, or Zarr group of a composite.
    key : str
        Path of the shard in it.
    kind : str
        `missing` or `corrupt`.
    """

    def __init__(self, store: Path, key: str, kind: str, detail: str) -> None:
        super().__init__(f"{store / key}: {detail}", hint="`hpckit verify`, then `hpckit run` writes it again")
        self.store = store
        self.key = key
        self.kind = kind


class ZoneError(VectorError):
    """A zone layer is unusable: no identifiers, duplicates, no CRS, nothing inside."""


class PlanError(HpckitError):
    """A plan cannot be made, or cannot fit."""


class RunError(HpckitError):
    """A run directory is missing, damaged or of another campaign."""


class BusyError(RunError):
    """Another process is working on the same run."""

    exit_code = EX_TEMPFAIL


class CrateError(HpckitError):
    """A crate cannot be made, is not as it was written, or cannot be made again."""


class SpoolError(HpckitError):
    """A spool file is damaged or of an unknown format."""


class SpoolFormatError(SpoolError):
    """A spool file of a format that this version does not know; it may be sound."""


class StoreError(HpckitError):
    """The store refused, is read-only or of another schema."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached at the moment; results stay in the spool."""

    exit_code = EX_TEMPFAIL


class SiteError(HpckitError, ValueError):
    """A site file is wrong, unknown, or does not fit the cluster."""


class SchedulerError(HpckitError):
    """The scheduler refused, or said something that makes no sense."""


class SchedulerUnavailableError(SchedulerError):
    """The scheduler does not answer at the moment; its jobs continue."""

    exit_code = EX_TEMPFAIL


class SubmissionError(HpckitError):
    """Jobs cannot be submitted, followed or retried."""


class FederationError(HpckitError):
    """Sites of a federation cannot share a campaign, or one of them must not work any more."""


class MemberUnavailableError(FederationError):
    """A site of a federation does not answer at the moment; what it has in work continues."""

    exit_code = EX_TEMPFAIL


class ImageError(HpckitError):
    """An image cannot be described, built or used."""


class StepError(HpckitError):
    """A command line of a campaign's steps cannot run, or failed."""


class MpiError(HpckitError):
    """Ranks were started that cannot work together."""


class LoginError(HpckitError):
    """A login to a site does not work; the message says why."""


class ServeError(HpckitError, ValueError):
    """The settings of the server are wrong, or it cannot start."""


class GraphError(HpckitError, ValueError):
    """A process graph, or a process in it, is wrong.

    Parameters
    ----------
    message : str
        One sentence that names the argument at fault.
    hint : str, optional
        What the user can do about it.
    fault : str
        Name that openEO gives this fault: `ProcessUnsupported`, or an exception of a process such as
        `DimensionNotAvailable`.
    node : str
        Node of the graph, `load1`, or `reduce1.reducer.mean1` in a child process; empty for the whole graph.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, fault: str = "ProcessGraphInvalid", node: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.fault = fault
        self.node = node


class UserCodeError(HpckitError):
    """Code of a user failed, passed a limit, or returned something that does not fit.

    Parameters
    ----------
    kind : str
        `exception`, `syntax`, `no-function`, `package`, `type`, `output`, `image`, `ended`, or the limit that was
        passed: `memory`, `processes`, `disk`, `files`, `seconds`, `network`, `outside` (files of the machine).
    traceback : str
        From the first line of the user's code on; empty if there is none.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, kind: str = "exception", traceback: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.traceback = traceback
