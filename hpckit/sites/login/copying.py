"""Files between here and a site: by rsync over ssh, or by sftp where either side has no rsync."""

from __future__ import annotations

import posixpath
import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hpckit.base.files import PARTIAL
from hpckit.errors import LoginError
from hpckit.sites.login.faults import LoginFault, SshError, explain
from hpckit.sites.login.ssh import Session

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from hpckit.sites.login.ssh import Session

_BROKEN: Final = (10, 12, 30, 35)
"""Exit codes of rsync for a connection that broke."""
# What links point to may not be there at the other side. A cut file stays aside, and the next call goes on with it.
_RSYNC: Final = (
    "rsync", "--recursive", "--times", "--copy-links", "--executability", "--partial-dir=.rsync-partial",
    "--protect-args",
)  # fmt: skip


_PRINTS: Final = ("is your shell clean", "protocol version mismatch", "Received message too long")
"""What rsync and sftp say where a shell prints before they speak."""
_SPACE: Final = "see that there is space left and that the folder is yours: quota, permissions"


def push(session: Session, paths: Sequence[Path], remote: str, *, timeout_s: float | None = None) -> None:
    """Copy files and folders into a folder at the site, which is made; links are followed.

    Parameters
    ----------
    paths : sequence of Path
        A file or folder is copied under its own name.
    remote : str
        Folder, absolute or relative to the home folder.

    Raises
    ------
    LoginError
        If something could not be copied. What has arrived stays; the same call goes on.
    """
    session.ensure()
    folder = _checked(remote)
    sources = [path.absolute() for path in paths]
    if missing := [path for path in sources if not path.exists()]:
        raise LoginError(f"{missing[0]}: no such file or folder", hint="nothing was copied")
    done = session.run(["mkdir", "-p", "--", folder])
    if done.returncode != 0:
        raise LoginError(f"{folder} cannot be made at {session.site.name}: {_last(done.stderr)}", hint=_SPACE)
    if not sources:
        return
    if _has_rsync(session):
        _rsync(session, [str(path) for path in sources], f"{session.access.alias}:{folder}/", timeout_s)
    else:
        _sftp(session, [line for path in sources for line in _puts(path, folder)], timeout_s)


def pull(session: Session, remote: str | Sequence[str], local: Path, *, timeout_s: float | None = None) -> None:
    """Copy files or folders of the site into a folder here, which is made.

    Raises
    ------
    LoginError
        If something could not be copied. What has arrived stays; the same call goes on.
    """
    session.ensure()
    sources = [_checked(name) for name in ([remote] if isinstance(remote, str) else remote)]
    local = local.absolute()
    local.mkdir(parents=True, exist_ok=True)
    if not sources:
        return
    if _has_rsync(session):
        _rsync(session, [f"{session.access.alias}:{source}" for source in sources], f"{local}/", timeout_s)
        return
    with tempfile.TemporaryDirectory(prefix=".", suffix=PARTIAL, dir=local) as aside:
        files = [(remote, local / name) for source in sources for remote, name in _files(session, source)]
        numbered = {Path(aside) / str(number): pair for number, pair in enumerate(files)}
        _sftp(session, [f"get -p {_word(pair[0])} {_word(str(path))}" for path, pair in numbered.items()], timeout_s)
        for path, (_, final) in numbered.items():
            final.parent.mkdir(parents=True, exist_ok=True)
            path.replace(final)


def _has_rsync(session: Session) -> bool:
    if shutil.which("rsync") is None:
        return False
    return session.run(["sh", "-c", "command -v rsync"]).returncode == 0


def _rsync(session: Session, sources: list[str], target: str, timeout_s: float | None) -> None:
    transport = shlex.join(session.ssh_command())
    done = session.call([*_RSYNC, "-e", transport, "--", *sources, target], None, timeout_s)
    if done.returncode in _BROKEN and "No space left" not in done.stderr and "quota" not in done.stderr.lower():
        raise SshError(_broken(session, done))
    _see(session, done)


def _puts(path: Path, folder: str) -> list[str]:
    """Commands for sftp that copy a file or folder to the site: file by file, since its `put -R` leaves links out."""
    if not path.is_dir():
        target = f"{folder}/{path.name}"
        partial = f"{target}{PARTIAL}"
        return [f"put -p {_word(str(path))} {_word(partial)}", f"rename {_word(partial)} {_word(target)}"]
    inner = f"{folder}/{path.name}"
    # A minus before a command: that it fails is no fault, the folder may be there.
    return [f"-mkdir {_word(inner)}", *(line for child in sorted(path.iterdir()) for line in _puts(child, inner))]


def _files(session: Session, source: str) -> list[tuple[str, str]]:
    """All files of a remote file or folder, with their names relative to the folder above it."""
    done = session.run(["find", "-L", source, "-type", "f", "-exec", "printf", "%s\\0", "{}", "+"])
    if done.returncode != 0:
        raise LoginError(
            f"not everything could be copied between here and {session.site.name}: {_last(done.stderr)}", hint=_SPACE
        )
    above = len(source) - len(posixpath.basename(source))
    return [(name, name[above:]) for name in done.stdout.split("\0") if name]


def _sftp(session: Session, lines: list[str], timeout_s: float | None) -> None:
    command = ["sftp", *session.ssh_command()[1:], "-q", "-b", "-", session.access.alias]
    _see(session, session.call(command, "\n".join(lines) + "\n", timeout_s))


def _see(session: Session, done: CompletedProcess[str]) -> None:
    # sftp says nothing at all where the open connection breaks.
    silent = done.returncode != 0 and not done.stderr.strip()
    if done.returncode == 255 or silent or done.stderr.startswith(("Connection closed", "client_loop:")):
        raise SshError(_broken(session, done))
    if done.returncode != 0 and any(words in done.stderr for words in _PRINTS):
        raise LoginError(
            f"nothing can be copied: the login shell at {session.site.name} prints text where no person is",
            hint="there, put `[[ $- == *i* ]] || return` above the lines of ~/.bashrc (or ~/.cshrc) that print",
        )
    if done.returncode != 0:
        raise LoginError(
            f"not everything could be copied between here and {session.site.name}: {_last(done.stderr)}", hint=_SPACE
        )


def _broken(session: Session, done: CompletedProcess[str]) -> LoginFault:
    fault = explain(session.access, done.stderr)
    if fault.kind != "lost":
        return fault
    return LoginFault(
        "lost",
        f"the connection to {session.site.name} broke while files were copied",
        "run it again: what has arrived is kept, and the copy continues from there",
        temporary=True,
    )


def _checked(remote: str) -> str:
    """A remote path that no program takes for an option, or for several lines."""
    if not remote or re.search(r"[\x00-\x1f]", remote):
        raise LoginError(f"{remote!r} is no path of the site", hint="give one without line breaks")
    folder = remote.rstrip("/") or "/"
    return f"./{folder}" if folder.startswith(("-", "~")) else folder


def _word(path: str) -> str:
    r"""A path as sftp reads it: in quotes, where only `"` and `\` mean something."""
    if re.search(r"[\x00-\x1f]", path):
        raise LoginError(f"{path!r} has a line break in its name", hint="rename it, or install rsync here and there")
    return '"' + re.sub(r'(["\\])', r"\\\1", path) + '"'


def _last(stderr: str) -> str:
    """The line that says most: rsync's own summary comes last, the reason before it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    reasons = [line for line in lines if not line.startswith("rsync error:") and "Broken pipe" not in line]
    return (reasons or lines or ["no reason given"])[-1]
