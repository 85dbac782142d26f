"""What went wrong with a login, from what ssh says on stderr: a sentence and a remedy for each case."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from hpckit.errors import EX_FAILED, EX_TEMPFAIL, LoginError
from hpckit.sites.login.names import Access, Hop

Kind = Literal[
    "host key changed", "host key unknown", "key file", "key locked", "account", "denied",
    "interactive", "too many keys", "name", "timeout", "refused", "unreachable",
    "sessions", "negotiation", "configuration", "lost",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoginFault:
    """Why there is no login."""

    kind: Kind
    sentence: str
    remedy: str
    temporary: bool = False
    """Whether it may pass by itself."""


class SshError(LoginError):
    """ssh did not get in, or lost the connection; `fault` says why."""

    def __init__(self, fault: LoginFault) -> None:
        super().__init__(fault.sentence, hint=fault.remedy)
        self.fault = fault
        self.exit_code = EX_TEMPFAIL if fault.temporary else EX_FAILED


_Explain = Callable[[Access, str], tuple[str, str]]
"""Sentence and remedy, from the way in and ssh's line."""


def explain(access: Access, stderr: str) -> LoginFault:
    """The fault behind exit code 255 of ssh.

    The first pattern that is found wins: causes stand before the consequences that ssh prints after them.
    """
    lines = [line.strip() for line in stderr.splitlines() if not line.startswith("debug")]
    for kind, pattern, temporary, tell in _CASES:
        if line := next((line for line in lines if re.search(pattern, line, re.IGNORECASE)), None):
            if kind == "denied" and re.search(r"\(.*(keyboard-interactive|password)", line):
                return not_open(access, line)
            sentence, remedy = tell(access, line)
            return LoginFault(kind, sentence, remedy, temporary)
    sentence, remedy = _lost(access, lines[-1] if lines else "")
    return LoginFault("lost", sentence, remedy, temporary=True)


def not_open(access: Access, line: str = "") -> LoginFault:
    """The site wants a person to answer something, and nobody has."""
    return LoginFault(
        "interactive",
        f"{access.site.name} wants a code or password that only you can give{_says(line)}",
        f"open a session first: hpckit login open {access.site.name}",
    )


def locked(access: Access) -> LoginFault:
    """The key has a passphrase, which commands cannot ask for."""
    return LoginFault(
        "key locked",
        f"{access.key} is locked by a passphrase, and no agent holds it",
        f"ssh-add {shlex.quote(str(access.key))}; or hpckit login open {access.site.name}",
    )


def too_late(access: Access, timeout_s: float) -> LoginFault:
    """A command gave no answer in time."""
    return LoginFault(
        "timeout",
        f"no answer from {access.site.name} within {timeout_s:.0f} s",
        f"try again; if the network has changed meanwhile: hpckit login close {access.site.name}, then open",
        temporary=True,
    )


def waiting_remedy(access: Access) -> str:
    """What to do where the site does not know the key."""
    if not access.federated:
        return (
            f"add the public key {access.key}.pub to your account at the site; hpckit login check {access.site.name}"
        )
    least, most = access.login.sync_min
    return (
        f"upload {access.key}.pub at https://sram.surf.nl/profile; a new key or membership takes {least} to {most} "
        f"minutes to arrive; then see that you accepted the terms of use and that your membership is active: "
        f"hpckit login check {access.site.name}"
    )


def _changed(access: Access, line: str) -> tuple[str, str]:
    return (
        f"the host key of {_where(access)} has changed: this may be another machine that poses as it",
        "do not go on; compare with the fingerprint that the site publishes, and only if it agrees: "
        + "; ".join(f"ssh-keygen -R {_known_as(hop)}" for hop in _hops(access)),
    )


def _unknown(access: Access, line: str) -> tuple[str, str]:
    return (
        f"the host key of {_where(access)} is not known on this machine",
        f"hpckit login open {access.site.name} shows its fingerprint and asks; compare it with the one that the "
        "site publishes",
    )


def _key_file(access: Access, line: str) -> tuple[str, str]:
    return f"ssh refuses {access.key}, which others may read", f"chmod 600 {access.key}"


def _account(access: Access, line: str) -> tuple[str, str]:
    remedy = "ask the site"
    if access.federated:
        remedy = "see your collaboration at https://sram.surf.nl: the membership may be expired or suspended"
    return f"{access.site.name} refuses the account {access.name}{_says(line)}", remedy


def _denied(access: Access, line: str) -> tuple[str, str]:
    return f"{access.site.name} does not accept the key for {access.name}{_says(line)}", waiting_remedy(access)


def _too_many(access: Access, line: str) -> tuple[str, str]:
    return (
        f"ssh offered more keys than {_where(access)} takes, before the right one",
        f"take `IdentityFile` lines that stand under `Host *` out of ~/.ssh/config, or put them under other hosts "
        f"than {access.alias}",
    )


def _name(access: Access, line: str) -> tuple[str, str]:
    return (
        f"the name of {_where(access)} is not found{_says(line)}",
        f"see that you are online (VPN?) and that `login.host` in {access.site.path} is right",
    )


def _timeout(access: Access, line: str) -> tuple[str, str]:
    return (
        f"{_where(access)} does not answer{_says(line)}",
        "see that you are online (VPN?); the site may be down for maintenance, or closed to your network",
    )


def _refused(access: Access, line: str) -> tuple[str, str]:
    return (
        f"{_where(access)} takes no connections at the moment{_says(line)}",
        f"try again later; if it stays so, see that `login.port` in {access.site.path} is right",
    )


def _forwarding(access: Access, line: str) -> tuple[str, str]:
    return (
        f"a jump host does not pass connections on to {access.target.host}{_says(line)}",
        f"see that `login.jump` and `login.host` in {access.site.path} are right; ask the site",
    )


def _sessions(access: Access, line: str) -> tuple[str, str]:
    return (
        f"{access.site.name} takes no further command over the open session{_says(line)}",
        "try again when other commands have ended",
    )


def _negotiation(access: Access, line: str) -> tuple[str, str]:
    return (
        f"this ssh and that of {_where(access)} have no algorithm in common{_says(line)}",
        "make a new key with `ssh-keygen -t ed25519`, or update OpenSSH",
    )


def _configuration(access: Access, line: str) -> tuple[str, str]:
    return f"ssh's configuration is not valid{_says(line)}", "correct that line of your configuration of ssh"


def _lost(access: Access, line: str) -> tuple[str, str]:
    remedy = f"run it again; hpckit login status {access.site.name} shows whether a session is open"
    return f"the connection to {access.site.name} ended in the middle{_says(line)}", remedy


_CASES: Final[tuple[tuple[Kind, str, bool, _Explain], ...]] = (
    ("host key changed", r"host identification has changed|host key for .* has changed", False, _changed),
    ("host key unknown", r"host key is known for|host key verification failed", False, _unknown),
    ("configuration", r"bad configuration option|bad owner or permissions on", False, _configuration),
    ("key file", r"unprotected private key file|permissions .* are too open", False, _key_file),
    ("account", r"account .*(expired|suspended|locked|not available)|has been suspended", False, _account),
    ("too many keys", r"too many authentication failures", False, _too_many),
    ("denied", r"permission denied \(", False, _denied),
    ("name", r"could not resolve hostname|name or service not known|open failed:.*resolv", True, _name),
    ("timeout", r"timed out|timeout, server|not responding", True, _timeout),
    ("refused", r"connection refused", True, _refused),
    ("unreachable", r"no route to host|network is unreachable", True, _timeout),
    ("unreachable", r"administratively prohibited", False, _forwarding),
    ("sessions", r"session open refused|no more sessions", True, _sessions),
    ("negotiation", r"no mutual signature|unable to negotiate", False, _negotiation),
)  # fmt: skip


def _says(line: str) -> str:
    return f' (ssh says "{line}")' if line else ""


def _hops(access: Access) -> tuple[Hop, ...]:
    return (*access.jumps, access.target)


def _where(access: Access) -> str:
    way = " or its jump host " + ", ".join(hop.host for hop in access.jumps) if access.jumps else ""
    return access.target.host + way


def _known_as(hop: Hop) -> str:
    return hop.host if hop.port == 22 else f"'[{hop.host}]:{hop.port}'"
