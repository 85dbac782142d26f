"""A real Apptainer for tests, on Debian releases that have none: that of the newest Debian, beside the system.

Its packages are unpacked into a folder and their programs told to use the C library that came with them; Apptainer
finds its own parts relative to its program. It runs as an ordinary user, since root with fewer than all
capabilities is refused; called by root, it becomes that user.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Final

from hpckit.sites.image.recipe import apt_mirror

USER: Final = "hpckit-image"
_RELEASE: Final = "sid"
_PACKAGES: Final = ("apptainer", "libc6", "libseccomp2", "libsqlite3-0")
_NEEDED: Final = {
    "patchelf": "patchelf",
    "mksquashfs": "squashfs-tools",
    "squashfuse_ll": "squashfuse",
    "newuidmap": "uidmap",
    "fusermount3": "fuse3",
    "debootstrap": "debootstrap",
}
"""Programs by Debian's package."""


class MissingError(RuntimeError):
    """Apptainer cannot be had here."""


def install(folder: Path) -> Path:
    """Unpack Apptainer into a folder that all users can read; return the program.

    Raises
    ------
    MissingError
        Says what is missing.
    """
    program = folder / "apptainer"
    _require_programs()
    ensure_user()
    _require_namespaces()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests of other processes may want it too
        if not program.exists():
            _unpack(folder, program)
    return program


def _unpack(folder: Path, program: Path) -> None:
    packages, root = folder / "packages", folder / "root"
    packages.mkdir(parents=True, exist_ok=True)
    _download(packages)
    for package in packages.glob("*.deb"):
        _run("dpkg-deb", "-x", str(package), str(root))
    _relocate(root)
    program.write_text(
        f"""#!/bin/bash
if [ "$(id -u)" = 0 ]; then
    export HOME=/home/{USER} USER={USER}
    exec setpriv --reuid {USER} --regid {USER} --clear-groups "{root}/usr/bin/apptainer" "$@"
fi
exec "{root}/usr/bin/apptainer" "$@"
"""
    )
    program.chmod(0o755)
    _run("chmod", "-R", "a+rX", str(folder))


def ensure_user() -> pwd.struct_passwd:
    """The ordinary user that builds and runs images, with a range of user ids of its own; made if need be."""
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        _run("useradd", "--create-home", "--add-subids-for-system", "--shell", "/bin/bash", USER)
        Path("/dev/fuse").chmod(0o666)
        return pwd.getpwnam(USER)


def _require_programs() -> None:
    if os.geteuid() != 0:
        raise MissingError("it takes root to install Apptainer's helpers")
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [package for program, package in _NEEDED.items() if shutil.which(program, path=path) is None]
    if missing:
        raise MissingError(f"not installed: {' '.join(missing)}")
    if not Path("/dev/fuse").exists():
        raise MissingError("there is no /dev/fuse")


def require_mirror() -> None:
    """Look whether Debian's packages can be had.

    Raises
    ------
    MissingError
        Says why not.
    """
    mirror = apt_mirror()
    if not mirror:
        raise MissingError("this is no Debian: apt names no mirror")
    try:
        urllib.request.urlopen(f"{mirror}/dists/bookworm/Release", timeout=30).close()
    except OSError as error:
        raise MissingError(f"the mirror of Debian's packages cannot be reached: {error}") from error


def _require_namespaces() -> None:
    user = ("setpriv", "--reuid", USER, "--regid", USER, "--clear-groups")
    try:
        _run(*user, "unshare", "--user", "--map-root-user", "--mount", "true")
    except MissingError as error:
        raise MissingError(f"user namespaces are closed to ordinary users: {error}") from error


def _download(folder: Path) -> None:
    """Fetch packages of the newest release, and leave the system's own lists alone."""
    mirror = apt_mirror()
    if not mirror:
        raise MissingError("this is no Debian: apt names no mirror")
    (folder / "lists").mkdir(exist_ok=True)
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (folder / "sources.list").write_text(f"deb [signed-by={keys}] {mirror} {_RELEASE} main\n")
    options = [
        *("-o", f"Dir::Etc::sourcelist={folder / 'sources.list'}"),
        *("-o", "Dir::Etc::sourceparts=-"),
        *("-o", f"Dir::State::lists={folder / 'lists'}"),
        *("-o", "APT::Sandbox::User=root"),
        "-qq",
    ]
    _run("apt-get", *options, "update")
    _run("apt-get", *options, "download", *_PACKAGES, cwd=folder)


def _relocate(root: Path) -> None:
    """Let programs use the libraries beside them, and lie where Apptainer looks for its parts."""
    libraries = root / "usr/lib/x86_64-linux-gnu"
    usr = root / "usr"
    loader = next(path for path in libraries.glob("ld-linux-x86-64.so.2*"))
    for program in (usr / "bin/apptainer", libraries / "apptainer/bin/starter"):
        # An RPATH holds for libraries of libraries too, unlike a RUNPATH.
        words = ("--set-interpreter", str(loader), "--force-rpath", "--set-rpath", str(libraries))
        _run("patchelf", *words, str(program))
    if not (usr / "etc").exists():
        shutil.copytree(root / "etc", usr / "etc")
    # The starter takes the folder three above it for the prefix: Debian's multiarch folder is one too many.
    (libraries / "apptainer").rename(usr / "lib/apptainer")
    (libraries / "apptainer").symlink_to("../apptainer")
    for name in ("session", "source"):
        (usr / "var/lib/apptainer/mnt" / name).mkdir(parents=True, exist_ok=True)


def _run(*words: str, cwd: Path | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    environment["PATH"] = f"{environment.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd, env=environment)
    if done.returncode != 0:
        raise MissingError(f"{words[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
