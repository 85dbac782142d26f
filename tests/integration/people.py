"""Commands run as other people of this machine: real users and groups of the kernel, which need no accounts."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GROUP = 54_000
"""A group that the people share."""


@dataclass(frozen=True)
class Person:
    """A user with a group of their own, a home folder, and perhaps the shared group."""

    number: int
    home: Path
    groups: tuple[int, ...] = (GROUP,)

    def words(self, *command: str, umask: str = "022") -> list[str]:
        """Command line that runs a command as this person."""
        groups = ["--groups", ",".join(map(str, self.groups))] if self.groups else ["--clear-groups"]
        ids = ["--reuid", str(self.number), "--regid", str(self.number), *groups, "--inh-caps=-all"]
        inner = f"umask {umask}; exec {shlex.join(command)}"
        return [*_entered(), "setpriv", *ids, "bash", "-c", inner]

    def run(self, *command: str, folder: Path, umask: str = "022") -> subprocess.CompletedProcess[str]:
        """Run a command in a folder, with nothing of our environment that belongs to another person."""
        return subprocess.run(
            self.words(*command, umask=umask),
            cwd=folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """Environment of a login."""
        kernels = os.environ.get("HPCKIT_KERNELS")
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        return {**kept, "PYTHONDONTWRITEBYTECODE": "1"} | ({"HPCKIT_KERNELS": kernels} if kernels else {})


def hpckit(*words: str) -> list[str]:
    """A command of hpckit."""
    return [sys.executable, "-m", "hpckit", *words]


@contextmanager
def people() -> Iterator[tuple[Path, Person, Person, Person]]:
    """A folder that everybody can enter, two people of a group, and one who is not in it."""
    if os.getuid() != 0 or shutil.which("setpriv") is None or _enters() is None:
        pytest.skip("needs root, setpriv, and mount namespaces where Python lies in a private folder")
    folder = Path(tempfile.mkdtemp(prefix="hpckit-people-", dir="/tmp"))
    folder.chmod(0o755)
    found = []
    for number, groups in ((54_001, (GROUP,)), (54_002, (GROUP,)), (54_003, ())):
        home = folder / f"home{number}"
        home.mkdir(mode=0o700)
        os.chown(home, number, number)
        found.append(Person(number, home, groups))
    try:
        yield folder, found[0], found[1], found[2]
    finally:
        shutil.rmtree(folder)


def share(folder: Path, owner: Person, group: int = GROUP) -> None:
    """Give a folder and all that is in it to a person and a group, as `chgrp -R` and `chmod -R g+rwXs` do."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.number, group)
        path.chmod(path.stat().st_mode & 0o777 | (0o2070 if path.is_dir() else 0o060))


def _private() -> list[Path]:
    """Folders above this Python that others cannot enter."""
    found = [path for path in Path(sys.executable).resolve().parents if not path.stat().st_mode & 0o001]
    return found[::-1]


def _entered() -> list[str]:
    """Words that open the one folder above this Python that others cannot enter, for a command alone."""
    words = _enters()
    assert words is not None
    return words


def _enters() -> list[str] | None:
    private = _private()
    if not private:
        return []
    if len(private) > 1 or shutil.which("unshare") is None:
        return None
    outer = private[0]
    inner = outer / Path(sys.executable).resolve().relative_to(outer).parts[0]
    aside = Path("/mnt")
    script = (
        f"mount --bind {inner} {aside} && mount -t tmpfs -o mode=755 none {outer} && mkdir {inner} "
        f'&& mount --bind {aside} {inner} && umount {aside} && exec "$@"'
    )
    words = ["unshare", "--mount", "bash", "-c", script, "bash"]
    done = subprocess.run([*words, "true"], capture_output=True, check=False)
    return words if done.returncode == 0 else None
