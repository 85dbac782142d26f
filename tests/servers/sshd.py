"""An ssh server of one's own on loopback, for tests: real, with its own keys and home folder, gone afterwards."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.servers.weblogin import Weblogin

_START_S = 20
_SFTP = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server")


class SshServer:
    """An sshd in a temporary folder, to which only the user who runs it can log in.

    Whoever logs in lands in `home`, with `bin` first in PATH: programs that are put there are found before
    those of the system. As root, sshd wants the folder /run/sshd, which is made.

    Parameters
    ----------
    keys : sequence of str
        Public keys that may log in, as lines of `authorized_keys`.
    weblogin : Weblogin, optional
        Asks for a code as SRAM's pam-weblogin does, after the key (`both`) or instead of it. Only as root.
    both : bool
        Whether the key is needed besides the code.
    settings : sequence of str
        Further lines of sshd_config; these win.

    Raises
    ------
    FileNotFoundError
        If there is no sshd.
    """

    def __init__(
        self,
        keys: Sequence[str] = (),
        *,
        weblogin: Weblogin | None = None,
        both: bool = True,
        settings: Sequence[str] = (),
    ) -> None:
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            raise FileNotFoundError("no sshd is installed (Debian: openssh-server)")
        self.folder = Path(tempfile.mkdtemp(prefix="hpckit-sshd-", dir="/tmp"))
        self.home = self.folder / "home"
        self.bin = self.folder / "bin"
        self.user = getpass.getuser()
        self.port = _free_port()
        self._weblogin = weblogin
        # sshd takes the name by which it was started for the name of its PAM service.
        self._program = self.folder / (weblogin.service if weblogin else "sshd")
        self._program.symlink_to(program)
        self._process: subprocess.Popen[bytes] | None = None
        for folder in (self.home, self.bin):
            folder.mkdir()
        self.new_host_key()
        self.authorize(keys)
        self._write_session_script()
        self._write_config(settings, weblogin, both)

    @property
    def host_key(self) -> str:
        """Public host key, without a comment."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    @property
    def known_hosts(self) -> str:
        """The line of `known_hosts` for this server."""
        return f"[127.0.0.1]:{self.port} {self.host_key}\n"

    def authorize(self, keys: Sequence[str]) -> None:
        """Let these public keys in, and no others; holds for the next login."""
        (self.folder / "authorized_keys").write_text("".join(f"{key.strip()}\n" for key in keys))

    def new_host_key(self) -> None:
        """Make a new host key; holds from the next start."""
        for name in ("host_key", "host_key.pub"):
            (self.folder / name).unlink(missing_ok=True)
        make_key(self.folder / "host_key")

    def start(self) -> SshServer:
        """Start the server and wait until it answers."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-D", "-e", "-f", self.folder / "sshd_config"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        limit = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"sshd does not start:\n{self.log[-2000:]}")
            time.sleep(0.02)
        return self

    @property
    def log(self) -> str:
        """What the server has said."""
        return (self.folder / "log").read_text(errors="replace")

    def cut(self) -> None:
        """Kill all connections at once, as a power cut does; the server lives on."""
        for pid in _descendants(self._process.pid if self._process else 0):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop the server and its connections."""
        if self._process is not None:
            children = _descendants(self._process.pid)
            self._process.kill()
            self._process.wait(timeout=20)
            for pid in children:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process = None

    def remove(self) -> None:
        """Stop the server and delete its files."""
        self.stop()
        if self._weblogin is not None:
            self._weblogin.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
        return False

    def _write_session_script(self) -> None:
        """What every login runs: another home folder, since sshd takes that of the password database."""
        script = self.folder / "session"
        home, programs = shlex.quote(str(self.home)), shlex.quote(str(self.bin))
        script.write_text(
            f"#!/bin/sh\nexport HOME={home} PATH={programs}:$PATH\ncd {home} || exit 1\n"
            'exec sh -c "${SSH_ORIGINAL_COMMAND:-exec sh}"\n'
        )
        script.chmod(0o755)

    def _write_config(self, settings: Sequence[str], weblogin: Weblogin | None, both: bool) -> None:
        methods = "publickey"
        if weblogin is not None:
            methods = "publickey,keyboard-interactive" if both else "publickey keyboard-interactive"
        lines = [
            *settings,
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder}/host_key",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            f"PidFile {self.folder}/pid",
            f"ForceCommand {self.folder}/session",
            f"AuthenticationMethods {methods}",
            f"UsePAM {'yes' if weblogin else 'no'}",
            f"KbdInteractiveAuthentication {'yes' if weblogin else 'no'}",
            "PasswordAuthentication no",
            "PermitRootLogin yes",
            # The folder lies below /tmp, which others may write.
            "StrictModes no",
            "PrintMotd no",
            f"Subsystem sftp {next((path for path in _SFTP if Path(path).exists()), 'internal-sftp')}",
        ]
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "", comment: str = "hpckit test") -> str:
    """Make a key pair and return the public key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", comment, "-f", path], check=True, timeout=60
    )
    return path.with_name(f"{path.name}.pub").read_text()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _descendants(pid: int) -> list[int]:
    """Processes that descend from one, by /proc."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError, ValueError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found: list[int] = []
    todo = [pid] if pid else []
    while todo:
        children = [child for child, parent in parents.items() if parent in todo]
        found += children
        todo = children
    return found
