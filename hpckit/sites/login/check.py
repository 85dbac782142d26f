"""Whether a login works, and if not, which of its parts is missing: one finding for each."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Iterator

from hpckit.base.account import expand
from hpckit.base.findings import Finding
from hpckit.sites.login.accounts import maps_of, missing_accounts, missing_groups, read_rights
from hpckit.sites.login.faults import SshError, waiting_remedy
from hpckit.sites.login.hosts import is_known
from hpckit.sites.login.keys import KeyFile, PublicKey, agent_keys, read_key
from hpckit.sites.login.names import Access
from hpckit.sites.login.ssh import Session
from hpckit.sites.site import scheduler_of

_REACH_S = 10


def check(session: Session) -> list[Finding]:
    """Test a login from the key to the accounts; nothing secret is shown or sent, nothing is asked.

    Parameters
    ----------
    session : Session
        Of the login; it may be open or not.
    """
    access = session.access
    key = read_key(access.key)
    findings = [Finding("name", True, f"you log in as {access.name} at {access.target.host}")]
    findings += _key(access, key, agent_keys())
    is_open = session.is_open()
    findings += _network(session)
    entered = _login(session, key, is_open)
    findings.append(entered)
    findings += _rights(session, entered.ok and (is_open or not access.login.interactive))
    if not entered.ok and access.federated:
        findings += _federation(access)
    return findings


def _key(access: Access, key: KeyFile, held: list[PublicKey] | None) -> Iterator[Finding]:
    path = access.key
    quoted = shlex.quote(str(path))
    in_agent = key.public is not None and key.public.blob in {each.blob for each in held or []}
    if not key.private and not in_agent:
        yield Finding(
            "key", False, f"there is no private key {path}",
            f"make one: ssh-keygen -t ed25519 -f {quoted}; or name another by --key",
        )  # fmt: skip
        return
    if key.public is None:
        yield Finding(
            "key",
            False,
            f"{path} is no key that can be read",
            f"ssh-keygen -y -f {quoted} > {quoted}.pub, or make one",
        )
        return
    where = f"{path}" if key.private else "the agent"
    yield Finding("key", True, f"{where} holds {key.public.kind}, {key.public.bits} bits")
    yield _kind(access, key.public, quoted)
    if key.mismatch:
        yield Finding(
            "pair", False, f"{path}.pub belongs to another key than {path}: the site may know the wrong one",
            f"ssh-keygen -y -f {quoted} > {quoted}.pub, and upload that",
        )  # fmt: skip
    if key.private:
        yield _permissions(access, quoted)
    yield _agent(key, held, in_agent, access)
    compare = "compare with https://sram.surf.nl/profile" if access.federated else "compare with your account there"
    yield Finding("fingerprint", None, f"{key.public.fingerprint}: {compare}", needed=False)


def _kind(access: Access, public: PublicKey, quoted: str) -> Finding:
    objection = public.objection if access.federated or public.kind == "ssh-rsa" else None
    if objection is not None:
        return Finding("type", False, objection, f"make another: ssh-keygen -t ed25519 -f {quoted}-new; then --key")
    return Finding("type", True, f"{'SRAM takes' if access.federated else 'sites take'} keys of type {public.kind}")


def _permissions(access: Access, quoted: str) -> Finding:
    facts = access.key.stat()
    if facts.st_mode & 0o077 and facts.st_uid == os.getuid():
        mode = f"{facts.st_mode & 0o777:03o}"
        return Finding("permissions", False, f"others may get at {access.key} (mode {mode})", f"chmod 600 {quoted}")
    return Finding("permissions", True, f"only you read {access.key}")


def _agent(key: KeyFile, held: list[PublicKey] | None, in_agent: bool, access: Access) -> Finding:
    if in_agent:
        return Finding("agent", True, "the agent holds the key", needed=False)
    what = "there is no agent" if held is None else "the agent does not hold the key"
    if not key.locked:
        return Finding("agent", None, f"{what}; it needs none, since it has no passphrase", needed=False)
    return Finding(
        "agent", False, f"{what}, and the key has a passphrase, which commands cannot ask for",
        f"ssh-add {shlex.quote(str(key.path))}; or hpckit login open {access.site.name}", needed=False,
    )  # fmt: skip


def _network(session: Session) -> Iterator[Finding]:
    """The first host on the way answers, and the keys of all of them are known."""
    access = session.access
    aliases = [f"{access.alias}-jump{number}" for number in range(1, len(access.jumps) + 1)] + [access.alias]
    first = _effective(session, aliases[0])
    if "proxycommand" in first:
        yield Finding("host", None, f"reached by `ProxyCommand {first['proxycommand']}`, not tested", needed=False)
    else:
        yield _reach(first.get("hostname", access.target.host), int(first.get("port", "22")))
    for alias in aliases:
        facts = _effective(session, alias)
        name = facts.get("hostkeyalias") or facts.get("hostname", "")
        name = name if facts.get("port", "22") == "22" else f"[{name}]:{facts['port']}"
        files = f"{facts.get('userknownhostsfile', '')} {facts.get('globalknownhostsfile', '')}".split()
        if any(is_known(name, expand(file)) for file in files):
            yield Finding("host key", True, f"the key of {name} is known")
        else:
            yield Finding(
                "host key", False, f"the key of {name} is not known on this machine",
                f"hpckit login open {access.site.name} shows it and asks; compare it with what the site publishes",
            )  # fmt: skip


def _reach(host: str, port: int) -> Finding:
    try:
        with socket.create_connection((host, port), timeout=_REACH_S) as connection:
            greeting = connection.recv(8)
    except OSError as fault:
        reason = "no answer" if isinstance(fault, TimeoutError) else fault.strerror or str(fault)
        return Finding(
            "host", False, f"{host} port {port} cannot be reached: {reason}", "see that you are online (VPN?)"
        )
    if not greeting.startswith(b"SSH-"):
        return Finding("host", False, f"what answers at {host} port {port} is no ssh server", "correct `login.port`")
    return Finding("host", True, f"{host} port {port} answers")


def _login(session: Session, key: KeyFile, is_open: bool) -> Finding:
    site = session.site.name
    if is_open:
        return Finding("login", True, f"a session with {site} is open, as {session.name}")
    probe = session.probe()
    if probe.fault is None:
        return Finding("login", True, f"{site} lets {session.name} in by the key alone")
    if probe.fault.kind == "interactive":
        took = "takes the key, and wants" if probe.key_accepted else "does not take the key alone; it wants"
        return Finding(
            "login", None, f"{site} {took} a code or password that only you can give",
            probe.fault.remedy + ("" if probe.key_accepted else f"; if that fails, {waiting_remedy(session.access)}"),
        )  # fmt: skip
    if probe.fault.kind == "denied" and probe.key_accepted and key.locked:
        return Finding(
            "login", False, f"{site} knows the key, but its passphrase is needed here",
            f"ssh-add {shlex.quote(str(key.path))}; or hpckit login open {site}",
        )  # fmt: skip
    return Finding("login", False, probe.fault.sentence, probe.fault.remedy)


def _rights(session: Session, possible: bool | None) -> Iterator[Finding]:
    if not possible:
        yield Finding("groups", None, "not tested without a login", needed=False)
        return
    try:
        rights = read_rights(session)
    except SshError as error:
        yield Finding("groups", False, str(error), error.hint or "")
        return
    maps = maps_of(session.access)
    if absent := missing_groups(rights, maps):
        yield Finding(
            "groups", False, f"{rights.user} is not in the Unix group {', '.join(absent)}",
            "ask for the group in your collaboration; a change takes a while to arrive", needed=False,
        )  # fmt: skip
    else:
        yield Finding("groups", True, f"{rights.user} is in {', '.join(rights.groups)}", needed=False)
    scheduler = scheduler_of(session.site)
    if scheduler.accounts(rights.user) is None:
        return
    if not rights.allowances:
        why = rights.reason or "it lists none"
        yield Finding(
            "accounts", None, f"{scheduler.title} does not say which accounts you may use: {why}", needed=False
        )
    elif absent := missing_accounts(rights, maps):
        have = ", ".join(sorted({each.account for each in rights.allowances}))
        yield Finding(
            "accounts", False,
            f"the site file names account {', '.join(absent)}; {scheduler.title} has {have} for you",
            "name yours in the site file, or ask the site", needed=False,
        )  # fmt: skip
    else:
        have = ", ".join(sorted({each.account for each in rights.allowances}))
        yield Finding("accounts", True, f"you may use {have}", needed=False)


def _federation(access: Access) -> Iterator[Finding]:
    """What may stand in the way and only SRAM's web pages show."""
    least, most = access.login.sync_min
    yield Finding(
        "delay", None, f"a new key or membership takes {least} to {most} minutes to get from SRAM to the site",
        "wait that long before you change anything else", needed=False,
    )  # fmt: skip
    yield Finding(
        "terms of use", None, "the site lets nobody in who has not accepted its terms of use (AUP)",
        "https://sram.surf.nl: your collaboration, then the service", needed=False,
    )  # fmt: skip
    yield Finding(
        "membership", None, "an expired or suspended membership shows here only as a refused key",
        "https://sram.surf.nl: your collaboration; its administrators extend it", needed=False,
    )  # fmt: skip


def _effective(session: Session, alias: str) -> dict[str, str]:
    """What ssh makes of all configuration for a host."""
    done = session.call(["ssh", "-G", *session.ssh_command()[1:], alias], None, 20)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
