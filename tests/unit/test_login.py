"""Login names, ssh's configuration and ssh's complaints, without a server."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.errors import EX_TEMPFAIL, LoginError
from hpckit.sites.login import config
from hpckit.sites.login.faults import SshError, explain
from hpckit.sites.login.keys import parse_public, read_key
from hpckit.sites.login.names import Choice, Hop, find_access, logins_path, recall, remember
from hpckit.sites.scheduler.model import Allowance
from hpckit.sites.scheduler.slurm import Slurm
from hpckit.sites.site import load_site
from tests.login_samples import hpckit, short_home, write_site


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("HPCKIT_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def site(home, **login):
    return write_site(home / "sites" / "delena.yaml", **login)


WHO = {"co": "mycrop", "uid": "jdoe2"}


# --- names


@pytest.mark.parametrize(
    ("template", "given", "name"),
    [
        ("sram-{co}-{uid}", WHO, "sram-mycrop-jdoe2"),
        ("{service}-{uid}", WHO, "hpc-jdoe2"),
        ("{uid}", WHO, "jdoe2"),
        ("{user}", {"user": "ab1234"}, "ab1234"),
        ("{org}-{co}-{uid}", {**WHO, "org": "uva"}, "uva-mycrop-jdoe2"),
        ("guest", {}, "guest"),
    ],
)
def test_name_by_template(home, template, given, name):
    assert find_access(site(home, user=template), given).name == name


def test_missing_words_are_named_with_their_options(home):
    with pytest.raises(LoginError, match=r"named sram-\{co\}-\{uid\}: co and uid not known yet") as caught:
        find_access(site(home), {})
    assert "--co" in caught.value.hint and "--uid" in caught.value.hint and "remembered" in caught.value.hint


def test_site_without_service_word(home):
    with pytest.raises(LoginError, match="does not say which service"):
        find_access(site(home, user="{service}-{uid}", service=None), WHO)


def test_site_without_logins(home):
    path = home / "bare.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("name: bare\nscheduler: local\n")
    with pytest.raises(LoginError, match="no login section"):
        find_access(load_site(path), WHO)


@pytest.mark.parametrize(
    "word", ["$(id)", "a'b", 'a"b', "a\nb", "-oProxyCommand=x", "a b", "", "a;b", "`x`", "{uid}", "a%h", "ä", "a/b"]
)
@pytest.mark.parametrize("name", ["co", "uid", "org", "user"])
def test_words_that_are_none(home, name, word):
    with pytest.raises(LoginError, match="is no"):
        find_access(site(home, user="{co}{uid}"), {**WHO, name: word})
    assert not logins_path().exists()


@pytest.mark.parametrize("uid", ["a" * 17, "JDoe"])
def test_uid_as_sram_makes_them(home, uid):
    with pytest.raises(LoginError, match="at most 16 small letters"):
        find_access(site(home), {**WHO, "uid": uid})


@given(st.text(min_size=1, max_size=20))
def test_no_login_name_is_an_option_or_a_command(uid):
    try:
        choice = Choice(uid=uid, user=uid)
    except ValueError:
        return
    for value in (choice.uid, choice.user):
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*", value)


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a b", "a;b", "$(x)", "user@host", "a\tb", "%h"])
def test_hosts_that_are_none(home, host):
    with pytest.raises(LoginError, match="cannot be the name of a host"):
        find_access(site(home, host=host), WHO)
    if host != "user@host":
        with pytest.raises(LoginError, match="cannot be a jump host"):
            find_access(site(home, jump=[f"u@{host}"]), WHO)


def test_jump_hosts(home):
    access = find_access(site(home, jump=["gate", "{uid}@inner.example:2222", "[fe80::1]:23"]), WHO)
    assert access.jumps == (Hop("gate"), Hop("inner.example", 2222, "jdoe2"), Hop("fe80::1", 23))
    for bad in ("gate:0", "gate:70000", "gate:", "@gate", "a@b@c d"):
        with pytest.raises(LoginError):
            find_access(site(home, jump=[bad]), WHO)


def test_choices_are_remembered(home):
    find_access(site(home), {**WHO, "key": "~/.ssh/id_sram"})
    assert find_access(site(home)).name == "sram-mycrop-jdoe2"
    assert find_access(site(home)).key == home / ".ssh" / "id_sram"
    assert find_access(site(home), {"co": "forest"}).name == "sram-forest-jdoe2"
    assert recall("delena") == Choice(co="forest", uid="jdoe2", key=str(home / ".ssh" / "id_sram"))
    assert logins_path().stat().st_mode & 0o777 == 0o600
    remember("other", Choice(user="007"))
    assert recall("other").user == "007" and recall("delena").co == "forest"
    assert not list(logins_path().parent.glob(".*"))


def test_incomplete_choices_are_not_remembered(home):
    with pytest.raises(LoginError):
        find_access(site(home), {"co": "mycrop"})
    assert not logins_path().exists()


def test_relative_key_is_remembered_in_full(home, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    find_access(site(home), {**WHO, "key": "id"})
    monkeypatch.chdir("/")
    assert find_access(site(home)).key == tmp_path / "id"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sites: {delena: {uid: 'a;b'}}", r"logins\.yaml:1: sites\.delena\.uid: 'a;b' is no uid"),
        ("sites: {delena: {cco: x}}", "did you mean 'co'"),
        ("sites: [", "not valid YAML"),
    ],
)
def test_damaged_file_of_choices(home, text, words):
    logins_path().parent.mkdir(parents=True)
    logins_path().write_text(text)
    with pytest.raises(LoginError, match=words):
        find_access(site(home), WHO)


# --- ssh's configuration


def effective(access, batch: bool) -> dict[str, str]:
    """What ssh itself makes of the configuration."""
    if shutil.which("ssh") is None:
        pytest.skip("there is no ssh here")
    path = config.own_config(access, batch=batch)
    done = subprocess.run(["ssh", "-G", "-F", path, access.alias], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_block(home):
    assert config.host_blocks(find_access(site(home, port=2222, jump=["{uid}@gate"]), WHO)) == (
        f"""\
Host hpckit-delena-jump1
  HostName gate
  User jdoe2
  IdentityFile {home}/.ssh/id_ed25519
  IdentitiesOnly yes
  ServerAliveInterval 60
  StrictHostKeyChecking ask

Host hpckit-delena
  HostName delena.example
  User sram-mycrop-jdoe2
  Port 2222
  IdentityFile {home}/.ssh/id_ed25519
  IdentitiesOnly yes
  ControlMaster auto
  ControlPath {config.control_stem()}%C
  ControlPersist 8h
  ProxyJump hpckit-delena-jump1
  ServerAliveInterval 60
  StrictHostKeyChecking ask
"""
    )


def test_ssh_reads_what_is_meant(home):
    awkward = home / "my keys" / "100%h #1" / "id"
    access = find_access(site(home, port=2222, jump=["a@gate1", "gate2:23"]), {**WHO, "key": str(awkward)})
    told = effective(access, batch=True)
    assert told["user"] == "sram-mycrop-jdoe2" and told["hostname"] == "delena.example" and told["port"] == "2222"
    assert told["proxyjump"] == "hpckit-delena-jump1,hpckit-delena-jump2"
    assert told["batchmode"] == "yes" and told["controlmaster"] == "false" and told["stricthostkeychecking"] == "true"
    assert told["userknownhostsfile"].startswith(str(home))
    person = effective(access, batch=False)
    assert person["batchmode"] == "no" and person["stricthostkeychecking"] == "ask"
    assert person["controlpath"] == told["controlpath"]
    # -G prints paths as they stand in the file; the key is asked of ssh itself.
    assert told["identityfile"].replace("%%", "%") == str(awkward)


def test_users_settings_come_after_ours(home):
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "config").write_text("Host *\n  User wrong\n  Compression yes\n  UserKnownHostsFile /dev/null\n")
    told = effective(find_access(site(home), WHO), batch=True)
    assert (told["user"], told["compression"], told["userknownhostsfile"]) == (
        "sram-mycrop-jdoe2",
        "yes",
        "/dev/null",
    )


def test_every_host_on_the_way_is_asked_nothing(home):
    access = find_access(site(home, jump=["a@gate"]), WHO)
    blocks = config.host_blocks(access, batch=True).split("\n\n")
    assert all("BatchMode yes" in block and "StrictHostKeyChecking yes" in block for block in blocks)


def test_key_paths_that_ssh_cannot_read(home):
    for path in ('/a"b', "/a\nb", "/${HOME}/id"):
        with pytest.raises(LoginError, match="cannot be the path of a key"):
            find_access(site(home), {**WHO, "key": path})


def test_sockets_are_short_and_private(home, monkeypatch):
    with short_home() as short:
        monkeypatch.setenv("HOME", str(short))
        assert config.control_stem() == short / ".ssh" / "hpckit-"
    monkeypatch.setenv("HOME", "/home/" + "x" * 60)
    stem = config.control_stem()
    assert stem.parent == Path(f"/tmp/hpckit-{os.getuid()}")
    assert len(str(stem)) + 40 + 17 < 104


def test_socket_folder_of_another_is_refused(home, monkeypatch, tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    monkeypatch.setattr(config, "control_stem", lambda: folder / "ssh-")
    with pytest.raises(LoginError, match="open to others"):
        config.own_config(find_access(site(home), WHO), batch=True)
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(LoginError, match="open to others"):
        config.prepare_sockets()


def test_block_is_written_beside_the_users_file(home):
    access = find_access(site(home), WHO)
    path = config.write_snippet(access)
    assert path == home / ".ssh" / "hpckit.d" / "delena.conf"
    assert path.read_text().endswith(config.host_blocks(access))
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert not (home / ".ssh" / "config").exists()


@pytest.mark.parametrize(
    ("text", "included"),
    [
        ("Include ~/.ssh/hpckit.d/*.conf\n", True),
        ("# mine\ninclude=hpckit.d/*\nHost x\n", True),
        ('Include other "{home}/.ssh/hpckit.d/delena.conf"\n', True),
        ("Host *\n  Include hpckit.d/*.conf\n", True),
        ("Match all\nInclude hpckit.d/*.conf\n", True),
        ("Host other\n  User x\nInclude hpckit.d/*.conf\n", False),
        ("Match host x\nInclude hpckit.d/*.conf\n", False),
        ("Include ~/.ssh/config.d/*\n", False),
        ("#Include hpckit.d/*.conf\n", False),
        ("", False),
    ],
)
def test_include_is_noticed(home, text, included):
    access = find_access(site(home), WHO)
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "config").write_text(text.format(home=home))
    assert config.is_included(access) is included


# --- what ssh says


KEPT_OUT = "jdoe@delena.example: Permission denied"


@pytest.mark.parametrize(
    ("stderr", "kind", "temporary"),
    [
        (f"{KEPT_OUT} (publickey).", "denied", False),
        (f"{KEPT_OUT} (publickey,gssapi-keyex,gssapi-with-mic).", "denied", False),
        (f"{KEPT_OUT} (publickey,keyboard-interactive).", "interactive", False),
        (f"{KEPT_OUT} (keyboard-interactive).", "interactive", False),
        (f"{KEPT_OUT} (publickey,password).", "interactive", False),
        ("Received disconnect from 1.2.3.4 port 22:2: Too many authentication failures", "too many keys", False),
        (
            "No ED25519 host key is known for delena.example and you have requested strict checking.\r\n"
            "Host key verification failed.\r\n",
            "host key unknown",
            False,
        ),
        (
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!  @\nHost key for delena.example has changed and "
            "you have requested strict checking.\nHost key verification failed.\n",
            "host key changed",
            False,
        ),
        ("ssh: Could not resolve hostname delena.example: Name or service not known", "name", True),
        ("ssh: connect to host delena.example port 22: Connection timed out", "timeout", True),
        ("ssh: connect to host delena.example port 22: Operation timed out", "timeout", True),
        ("Connection timed out during banner exchange", "timeout", True),
        ("Timeout, server delena.example not responding.", "timeout", True),
        ("ssh: connect to host delena.example port 22: Connection refused", "refused", True),
        ("ssh: connect to host delena.example port 22: No route to host", "unreachable", True),
        (
            "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed\n"
            "Connection closed by UNKNOWN port 65535",
            "unreachable",
            False,
        ),
        (
            "channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed\n"
            "kex_exchange_identification: Connection closed by remote host",
            "refused",
            True,
        ),
        ("mux_client_request_session: session request failed: Session open refused by peer", "sessions", True),
        ("Unable to negotiate with 1.2.3.4 port 22: no matching host key type found.", "negotiation", False),
        (f"Permissions 0644 for '/h/.ssh/id' are too open.\n{KEPT_OUT} (publickey).", "key file", False),
        ("/h/.ssh/config: line 3: Bad configuration option: nonsense\n", "configuration", False),
        ("Your account has expired; please contact the administrator.\nConnection closed", "account", False),
        ("client_loop: send disconnect: Broken pipe", "lost", True),
        ("kex_exchange_identification: read: Connection reset by peer", "lost", True),
        ("", "lost", True),
        ("debug1: Connection refused\ndebug1: more", "lost", True),
    ],
)  # fmt: skip
def test_each_complaint_has_a_sentence_and_a_remedy(home, stderr, kind, temporary):
    fault = explain(find_access(site(home), WHO), stderr)
    assert (fault.kind, fault.temporary) == (kind, temporary)
    assert fault.sentence and fault.remedy and "\n" not in fault.sentence
    assert SshError(fault).exit_code == (EX_TEMPFAIL if temporary else 1)


def test_denied_at_a_federated_site_speaks_of_the_delay(home):
    fault = explain(find_access(site(home, sync_min=[15, 60]), WHO), f"{KEPT_OUT} (publickey).")
    assert "15 to 60 minutes" in fault.remedy and "sram.surf.nl/profile" in fault.remedy and "terms" in fault.remedy
    own = explain(find_access(site(home, federation="own"), WHO), f"{KEPT_OUT} (publickey).")
    assert "sram" not in own.remedy.replace("sram-mycrop", "")


# --- keys


@pytest.mark.parametrize(
    ("kind", "bits", "objection"),
    [
        ("ed25519", 256, None),
        ("ecdsa", 256, None),
        ("ecdsa", 384, None),
        ("ecdsa", 521, None),
        ("rsa", 2048, None),
        ("rsa", 1024, "too short"),
        ("dsa", 1024, "does not take keys of type ssh-dss"),
    ],
)
@pytest.mark.parametrize("passphrase", ["", "secret"])
def test_keys_are_read_as_ssh_keygen_does(tmp_path, kind, bits, objection, passphrase):
    path = tmp_path / "id"
    command = ["ssh-keygen", "-q", "-t", kind, "-b", str(bits), "-N", passphrase, "-f", path]
    if shutil.which("ssh-keygen") is None or subprocess.run(command, check=False).returncode != 0:
        pytest.skip(f"ssh-keygen makes no {kind} keys here")
    told = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=True).stdout.split()
    path.with_name("id.pub").unlink()  # the private file alone
    key = read_key(path)
    assert key.public.fingerprint == told[1]
    assert key.locked is bool(passphrase) and key.private and not key.mismatch
    if kind != "dsa":
        assert key.public.bits == int(told[0]) == bits
    assert (key.public.objection is None) if objection is None else objection in key.public.objection


def test_keys_of_security_tokens():
    def line(kind: str, *fields: bytes) -> str:
        blob = b"".join(len(field).to_bytes(4, "big") + field for field in (kind.encode(), *fields))
        return f"{kind} {base64.b64encode(blob).decode()} token"

    for kind in ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"):
        key = parse_public(line(kind, b"k" * 32, b"ssh:"))
        assert key.objection is None and key.bits == 256 and key.comment == "token"


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: f"ssh-rsa {base64.b64encode(data).decode()}"))
def test_lines_that_are_no_keys(line):
    with pytest.raises(ValueError, match=r".+"):
        parse_public(line)


def test_old_private_keys(tmp_path):
    path = tmp_path / "id"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "secret", "-f", path], check=True
    )
    key = read_key(path)
    assert key.locked and key.public is not None and key.public.kind == "ssh-rsa"


# --- accounts


def test_associations():
    assert Slurm().read_accounts("crop||normal,long\nforest|gpu|\n\nnonsense\n||x\n") == (
        Allowance("crop", "", ("normal", "long")),
        Allowance("forest", "gpu", ()),
    )


# --- the command line


def test_show(home):
    site(home)
    path = str(home / "sites" / "delena.yaml")
    done = hpckit("login", "show", path, "--co", "mycrop", home=home, HPCKIT_UID="jdoe2")
    assert done.returncode == 0, done.stderr
    assert "User sram-mycrop-jdoe2" in done.stdout
    facts = json.loads(hpckit("login", "show", path, "--json", home=home).stdout)
    assert facts["login_name"] == "sram-mycrop-jdoe2" and facts["config"] == done.stdout
    assert facts["written"] is None and not Path(facts["file"]).exists()


def test_show_explains_what_is_missing(home):
    site(home)
    done = hpckit("login", "show", str(home / "sites" / "delena.yaml"), home=home)
    assert done.returncode == 1 and "co and uid not known yet" in done.stderr and "--uid" in done.stderr
