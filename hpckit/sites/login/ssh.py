"""Commands at a site by the system's ssh, over one connection that a person opens once.

A person answers what must be answered (codes, passwords, a choice of groups) in `Session.open`; ssh keeps that
connection as a master, and all other commands run over it without asking anything. Where the key alone is
enough, the first command opens the connection by itself.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from hpckit.errors import LoginError
from hpckit.sites.login.config import own_config
from hpckit.sites.login.faults import LoginFault, SshError, explain, locked, not_open, too_late, waiting_remedy
from hpckit.sites.login.keys import is_locked
from hpckit.sites.login.names import Access, find_access
from hpckit.sites.site import Site

_LOST: Final = 255
"""Exit code of ssh itself."""
# ssh says 255 where the connection fails, so that no command may: then 255 has one meaning only.
_WRAPPER: Final = '"$@"; code=$?; [ $code -ne 255 ] || code=254; exit $code'
_MARK: Final = "--- answer of hpckit ---"
# Shells that sshd starts read ~/.bashrc, which may print: an answer begins after a line of its own.
_MARKED: Final = f"printf '\\n%s\\n' '{_MARK}'; printf '\\n%s\\n' '{_MARK}' >&2; "
_PROFILE: Final = (
    "{ [ ! -r /etc/profile ] || . /etc/profile; "
    'for file in ~/.bash_profile ~/.bash_login ~/.profile; do [ ! -r "$file" ] || { . "$file"; break; }; done; } '
    ">/dev/null 2>&1 </dev/null; "
)
_AUTHENTICATION: Final = ("denied", "interactive", "account", "too many keys", "lost")
_QUIET_OPEN_S: Final = 60


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of one try to log in with the key alone."""

    fault: LoginFault | None
    """None if it worked."""
    key_accepted: bool
    """Whether the login node knows the key, be it that something more is wanted there or here."""


class Session:
    """The connection of one person to one site.

    Parameters
    ----------
    access : Access
        Who, where and by which way; `session_for` finds it by the site alone.
    """

    def __init__(self, access: Access) -> None:
        self.access = access

    @property
    def site(self) -> Site:
        """The site."""
        return self.access.site

    @property
    def name(self) -> str:
        """Login name."""
        return self.access.name

    @cached_property
    def config(self) -> Path:
        """The configuration of ssh by which commands run; it asks nothing."""
        return own_config(self.access, batch=True)

    def is_open(self) -> bool:
        """Whether there is a connection that commands can use."""
        return self._control("check")

    def open(self) -> None:
        """Open the connection; the person at the terminal answers what the site asks.

        Raises
        ------
        LoginError
            If there is no terminal, or the login fails.
        """
        if self.is_open():
            return
        if self.access.login.interactive and not _has_terminal():
            raise LoginError(
                f"{self.site.name} asks for something that only a person can answer, and there is no terminal",
                hint=f"run `hpckit login open {self.site.name}` in a terminal, once; everything else then works",
            )
        config = own_config(self.access, batch=False)
        command = [*self._ssh(config), "-o", "ConnectTimeout=30", "-T", *self._stay(), self.access.alias]
        if "-N" not in command:
            command.append("true")
        # ssh talks with the person by the terminal itself; what the site's shell prints is no answer of hpckit.
        # Its helper for jump hosts stays with the terminal, and must outlive it.
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2, preexec_fn=_ignore_hangup, check=False)
        if not self.is_open():
            raise self._why_not_open(done.returncode)

    def close(self) -> bool:
        """Close the connection; whether there was one."""
        return self._control("exit")

    def probe(self) -> Probe:
        """Try the key alone, beside any open connection and without asking anything."""
        only_key = ["-v", "-o", "ControlPath=none", "-o", "PreferredAuthentications=publickey"]
        done = self.call([*self._ssh(self.config), *only_key, self.access.alias, "true"], None, _QUIET_OPEN_S)
        # With a jump host there are several logins in the output; the last one is that of the login node.
        last = done.stderr.rpartition("Authenticating to ")[2]
        accepted = any(words in last for words in ("Server accepts key", "with partial success", "Authenticated to "))
        fault = explain(self.access, done.stderr) if done.returncode == _LOST else None
        return Probe(fault, accepted and (fault is None or fault.kind in _AUTHENTICATION))

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,
        timeout_s: float = 90,
        profile: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command at the site and give its answer, whatever its exit code.

        Parameters
        ----------
        argv : sequence of str
            Program and arguments; each arrives as it is, no shell interprets it.
        input : str, optional
            What the command reads on stdin; nothing if not given.
        timeout_s : float
            After which the command is given up here; it may go on at the site.
        profile : bool
            Read the login profile first: at many sites it brings the scheduler's commands into PATH. What the
            profile prints is dropped.
        environment : mapping of str, optional
            Variables that are set for the command.

        Raises
        ------
        SshError
            If there is no session or the connection is lost; exit code 75 where that may pass. A command's own
            exit code 255 is given as 254.
        """
        self.ensure()
        variables = [f"{name}={value}" for name, value in (environment or {}).items()]
        words = ["env", *variables, *argv] if variables else argv
        script = _MARKED + _WRAPPER
        shell = ["bash", "-c", _PROFILE + script] if profile else ["sh", "-c", script]
        command = f"exec {shlex.join([*shell, 'hpckit', *words])}"
        done = self.call([*self._ssh(self.config), "-T", self.access.alias, command], input, timeout_s)
        if done.returncode == _LOST:
            raise SshError(self._explain(done.stderr))
        done.stdout, done.stderr = _answer(done.stdout), _answer(done.stderr)
        return done

    def stream(self, argv: Sequence[str]) -> int:
        """Run a command at the site with the login profile, its input and output being ours; give its exit code.

        Raises
        ------
        SshError
            If there is no session or the connection is lost; exit code 75 where that may pass.
        """
        self.ensure()
        terminal = ["-t"] if _has_terminal() and sys.stdout.isatty() else ["-T"]
        command = f"exec {shlex.join(['bash', '-c', _PROFILE + _WRAPPER, 'hpckit', *argv])}"
        quiet = ["-o", "LogLevel=ERROR"]
        done = subprocess.run([*self._ssh(self.config), *quiet, *terminal, self.access.alias, command], check=False)
        if done.returncode == _LOST:
            raise SshError(self._explain("Connection closed by remote host"))
        return done.returncode

    def ensure(self) -> None:
        """See that commands can run: by an open connection, or by the key where that is enough."""
        if self.is_open():
            return
        if self.access.login.interactive:
            raise SshError(not_open(self.access))
        options = ["-T", "-o", "ControlMaster=auto", "-o", "ControlPersist=30m"]
        command = [*self._ssh(self.config), *options, self.access.alias, "true"]
        # A file, not a pipe: the master lives on, and older ssh keeps stderr open in it.
        with tempfile.TemporaryFile() as stderr:
            try:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    timeout=_QUIET_OPEN_S,
                    start_new_session=True,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise SshError(too_late(self.access, _QUIET_OPEN_S)) from None
            if done.returncode == _LOST:
                stderr.seek(0)
                raise SshError(self._explain(stderr.read().decode(errors="replace")))

    def _stay(self) -> list[str]:
        """Options that keep the connection that a person opens."""
        if self.access.jumps:
            # With ControlPersist ssh hides what jump hosts print: the link, where a jump host wants the code.
            return ["-o", "ControlMaster=yes", "-o", "ControlPersist=no", "-f", "-N"]
        return ["-o", "ControlMaster=auto", "-o", "ControlPersist=8h"]

    def _explain(self, stderr: str) -> LoginFault:
        fault = explain(self.access, stderr)
        if fault.kind == "lost" and self.access.jumps:
            # What the jump host said is hidden here too; a further try that keeps no connection shows it.
            return self.probe().fault or fault
        if fault.kind == "denied" and is_locked(self.access.key):
            return locked(self.access)
        return fault

    def _why_not_open(self, code: int) -> LoginError:
        if code != _LOST:
            return LoginError(
                f"the login to {self.site.name} works, but the connection cannot be shared between commands",
                hint="see what ssh says above: the folder of the socket must be on a file system that has sockets",
            )
        # What ssh said went to the terminal; a try with the key alone shows whether network or login failed.
        fault = self.probe().fault
        if fault is not None and fault.kind not in _AUTHENTICATION:
            return SshError(fault)
        return LoginError(
            f"the login to {self.site.name} as {self.name} did not succeed",
            hint=f"a wrong code or password? Try again; otherwise {waiting_remedy(self.access)}",
        )

    def ssh_command(self) -> list[str]:
        """`ssh` with its options, for programs that start it themselves; the host's name is `access.alias`."""
        return self._ssh(self.config)

    def _ssh(self, config: Path) -> list[str]:
        # Forwardings and commands that the user's configuration has for all hosts would be in the way.
        return ["ssh", "-F", str(config), "-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none"]

    def _control(self, what: str) -> bool:
        done = self.call([*self._ssh(self.config), "-O", what, self.access.alias], None, 20)
        return done.returncode == 0

    def call(
        self, command: list[str], input: str | None, timeout_s: float | None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of OpenSSH away from the terminal, so that it can ask nobody."""
        feed: dict[str, Any] = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        try:
            return subprocess.run(
                command,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout_s,
                start_new_session=True,
                check=False,
                **feed,
            )
        except subprocess.TimeoutExpired as late:
            raise SshError(too_late(self.access, late.timeout)) from None
        except FileNotFoundError:
            raise LoginError(f"there is no {command[0]} here", hint="install OpenSSH's client") from None


def session_for(site: Site, given: Mapping[str, str | None] | None = None) -> Session:
    """The session of a site, for the person as remembered from `hpckit login`.

    Parameters
    ----------
    site : Site
        With a `login` section.
    given : mapping of str, optional
        `co`, `uid`, `org`, `user`, `key`, where they differ from what is remembered.

    Raises
    ------
    LoginError
        If the login name is not known yet.
    """
    return Session(find_access(site, given))


def _answer(text: str) -> str:
    """What a command printed, without what the login shell printed before it."""
    before, mark, answer = text.partition(f"{_MARK}\n")
    return answer if mark else before


def _ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True
