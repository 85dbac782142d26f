"""ssh's configuration for a site: the block that a person keeps, and the file that hpckit itself uses.

Both share one socket, so that a session opened by one serves the other. OpenSSH takes the home folder from the
password database, not from HOME; paths are written in full wherever the two differ.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Final

from hpckit.base.account import home, listed_home
from hpckit.errors import LoginError
from hpckit.sites.login.names import Access, Hop, config_folder, write_private

_SOCKET_LIMIT: Final = 104
"""Bytes of a socket's path: 104 on macOS, 108 on Linux."""
_SOCKET_TAIL: Final = 40 + 17 + 1
"""The hash that ssh puts for %C, the suffix of a socket that is being made, and the final zero."""
SNIPPETS: Final = "hpckit.d"


def host_blocks(access: Access, *, batch: bool = False) -> str:
    """The `Host` blocks of a site: one for each jump host, one for the login node.

    Parameters
    ----------
    batch : bool
        For commands that nobody watches: ssh asks nothing, in none of the hosts.
    """
    jumps = [f"{access.alias}-jump{number}" for number in range(1, len(access.jumps) + 1)]
    blocks = [
        _block(alias, hop, access, batch, [f"ProxyJump {','.join(jumps[:number])}"] if number else [])
        for number, (alias, hop) in enumerate(zip(jumps, access.jumps, strict=True))
    ]
    sharing = ["ControlMaster auto", f"ControlPath {_quoted(control_stem(), '%C')}", "ControlPersist 8h"]
    if batch:
        # A command never makes a session by itself: a master that it left behind would hold its output open.
        sharing = ["ControlMaster no", sharing[1]]
    route = [f"ProxyJump {','.join(jumps)}"] if jumps else []
    return "\n".join([*blocks, _block(access.alias, access.target, access, batch, [*sharing, *route])])


def own_config(access: Access, *, batch: bool) -> Path:
    """The file that hpckit gives to ssh: the blocks, then the user's and the system's configuration.

    Its name holds a digest of its content, so that processes with other choices do not meet in one file.
    """
    ssh = home() / ".ssh"
    known = " ".join(_quoted(ssh / name) for name in ("known_hosts", "known_hosts2"))
    text = (
        "# Made by hpckit for itself; delete it at will.\n"
        f"{host_blocks(access, batch=batch)}\nHost *\n"
        f"  Include {_quoted(ssh / 'config')}\nHost *\n"
        "  Include /etc/ssh/ssh_config\nHost *\n"
        f"  UserKnownHostsFile {known}\n"
    )
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = config_folder() / "ssh" / f"{access.site.name}-{digest}.conf"
    if not path.exists():
        write_private(path, text)
    prepare_sockets()
    return path


def snippet_path(access: Access) -> Path:
    """Where a person keeps the block of a site."""
    return home() / ".ssh" / SNIPPETS / f"{access.site.name}.conf"


def write_snippet(access: Access) -> Path:
    """Write the block of a site to its own file, which nobody else reads; the user's `config` is left alone."""
    path = snippet_path(access)
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
    write_private(path, f"# Written by `hpckit login show {access.site.name} --write`.\n{host_blocks(access)}")
    prepare_sockets()
    return path


def include_line() -> str:
    """The line that brings all blocks into the user's configuration."""
    return f"Include {_shown(home() / '.ssh' / SNIPPETS)}/*.conf"


def is_included(access: Access) -> bool:
    """Whether the user's configuration includes the block of a site, for all hosts."""
    try:
        lines = (home() / ".ssh" / "config").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    for line in lines:
        keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        value = rest.strip().lower()
        if keyword.lower() == "match" and value != "all":
            return False
        if keyword.lower() == "host" and value != "*":
            return False
        if keyword.lower() == "include" and _covers(rest, snippet_path(access)):
            return True
    return False


def control_stem() -> Path:
    """Beginning of the socket's path, short enough for the limit of socket names."""
    usual = home() / ".ssh" / "hpckit-"
    if len(os.fsencode(usual)) + _SOCKET_TAIL <= _SOCKET_LIMIT:
        return usual
    return Path(f"/tmp/hpckit-{os.getuid()}") / "ssh-"


def prepare_sockets() -> None:
    """Make the folder of the sockets, and see that it is the user's alone.

    Raises
    ------
    LoginError
        If another user can get at it: whoever reaches a socket is logged in.
    """
    folder = control_stem().parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.lstat()
    private = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077
    # What holds for ~/.ssh is between the user and ssh; a folder below /tmp could be anybody's.
    if not private and folder.name != ".ssh":
        raise LoginError(
            f"{folder}, where the sockets of ssh would lie, belongs to another user or is open to others",
            hint=f"remove it, or `chmod 700 {folder}` if it is yours",
        )


def _block(alias: str, hop: Hop, access: Access, batch: bool, more: list[str]) -> str:
    lines = [f"HostName {hop.host}"]
    if hop.user:
        lines.append(f"User {hop.user}")
    if hop.port != 22:
        lines.append(f"Port {hop.port}")
    lines += [f"IdentityFile {_quoted(access.key)}", "IdentitiesOnly yes", *more, "ServerAliveInterval 60"]
    if batch:
        lines += ["BatchMode yes", "StrictHostKeyChecking yes", "ConnectTimeout 20"]
    else:
        lines += ["StrictHostKeyChecking ask"]
    return "\n".join([f"Host {alias}", *(f"  {line}" for line in lines), ""])


def _quoted(path: Path, tail: str = "") -> str:
    """A path as ssh_config reads it: percent signs doubled, in quotes where there are spaces; `tail` as it is."""
    text = _shown(path).replace("%", "%%") + tail
    if re.search(r'["\x00-\x1f]|\$\{', text):
        raise LoginError(f"{str(path)!r} cannot stand in ssh's configuration", hint="use a path without quotes")
    return f'"{text}"' if re.search(r"[\s#]", text) else text


def _shown(path: Path) -> str:
    """A path with `~` where ssh means the same folder by it."""
    folder = listed_home()
    if folder == home() and path.is_relative_to(folder):
        return f"~/{path.relative_to(folder)}"
    return str(path)


def _covers(patterns: str, path: Path) -> bool:
    for pattern in re.findall(r'"([^"]*)"|(\S+)', patterns):
        text = os.path.expanduser(pattern[0] or pattern[1])  # noqa: PTH111 (a pattern, not a path)
        full = text if text.startswith("/") else str(home() / ".ssh" / text)
        if fnmatch.fnmatch(str(path), full):
            return True
    return False
