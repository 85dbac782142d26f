"""Logins against a real sshd: by key, with a code, over a jump host, and all that goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from hpckit.base.findings import Finding, failed
from hpckit.errors import EX_TEMPFAIL, LoginError
from hpckit.jobs.remote import find_program
from hpckit.sites.login.check import check
from hpckit.sites.login.copying import pull, push
from hpckit.sites.login.faults import SshError
from hpckit.sites.login.ssh import Session, session_for
from tests.login_samples import Person, hpckit, write_site
from tests.servers.sshd import SshServer, make_key
from tests.servers.weblogin import Weblogin

pytestmark = pytest.mark.integration


@pytest.fixture
def servers():
    """Makes sshds that are gone after the test."""
    started: list[SshServer] = []

    def start(**options) -> SshServer:
        try:
            server = SshServer(**options)
        except (FileNotFoundError, PermissionError) as error:
            pytest.skip(str(error))
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.remove()


@pytest.fixture
def sessions():
    """Closes the sessions of a test, before its home folder goes."""
    opened: list[Session] = []
    yield lambda site, **given: opened.append(session_for(site, given)) or opened[-1]
    for session in opened:
        session.close()


def public_key(home: Path) -> str:
    return (home / ".ssh" / "id_ed25519.pub").read_text()


def know(home: Path, *servers: SshServer) -> None:
    (home / ".ssh" / "known_hosts").write_text("".join(server.known_hosts for server in servers))


def site_of(home: Path, server: SshServer, **login):
    facts = {"host": "127.0.0.1", "port": server.port, "user": server.user, "federation": "own"} | login
    return write_site(home / ".config" / "hpckit" / "sites" / "near.yaml", "near", **facts)


@pytest.fixture
def near(home, servers, sessions):
    """A session with a site that takes the key alone, and its server."""
    server = servers(keys=[public_key(home)])
    know(home, server)
    return sessions(site_of(home, server)), server


AWKWARD = [
    "it's",
    'a "word"',
    "$HOME",
    "$(touch bad)",
    "`id`",
    "a;b|c&d",
    "*",
    "",
    "two  spaces",
    "-n",
    "ü",
    "a\nb",
    "\\",
]


def test_words_arrive_as_they_are(near):
    session, server = near
    done = session.run(["printf", "%s\\0", *AWKWARD])
    assert done.stdout.split("\0")[:-1] == AWKWARD
    assert not (server.home / "bad").exists()


def test_first_command_opens_the_connection_and_others_use_it(near):
    session, server = near
    assert not session.is_open()
    assert session.run(["pwd"]).stdout.strip() == str(server.home)
    assert session.is_open()
    session.run(["true"])
    assert server.log.count("Accepted publickey") == 1
    assert session.close() and not session.is_open() and not session.close()


def test_exit_codes_input_and_variables(near):
    session, _ = near
    assert session.run(["sh", "-c", "echo no >&2; exit 3"]).returncode == 3
    assert session.run(["sh", "-c", "echo no >&2; exit 3"]).stderr == "no\n"
    assert session.run(["sh", "-c", "exit 255"]).returncode == 254
    assert session.run(["sh", "-c", "kill -9 $$"]).returncode == 137
    assert session.run(["cat"], input="zwölf\n").stdout == "zwölf\n"
    assert session.run(["cat"]).stdout == ""
    assert session.run(["sh", "-c", 'echo "$X"'], environment={"X": "a b"}).stdout == "a b\n"
    assert session.run(["no-such-program"]).returncode == 127


def test_profile_brings_programs_into_path_and_prints_nothing(near):
    session, server = near
    scheduler = server.home / "slurm"
    scheduler.mkdir()
    (scheduler / "queue-of-near").write_text("#!/bin/sh\necho jobs\n")
    (scheduler / "queue-of-near").chmod(0o755)
    (server.home / ".bash_profile").write_text("echo Welcome; read answer\nPATH=$HOME/slurm:$PATH\n")
    assert session.run(["queue-of-near"]).returncode == 127
    assert session.run(["queue-of-near"], profile=True).stdout == "jobs\n"
    assert session.run(["cat"], profile=True, input="mine").stdout == "mine"


def test_a_shell_that_prints_changes_no_answer(near):
    session, server = near
    (server.home / ".bashrc").write_text("echo 'Welcome to near'; echo 'quota: 80 %' >&2; printf 'no end of line'\n")
    assert session.run(["printf", "1234"]).stdout == "1234"
    done = session.run(["sh", "-c", "echo no >&2; exit 3"])
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "no\n")


@pytest.mark.parametrize("command", [None, "~/my venv/bin/hpckit", "/nowhere/hpckit"])
def test_hpckit_on_the_login_node_is_found_or_missed(home, servers, sessions, command):
    server = servers(keys=[public_key(home)])
    know(home, server)
    session = sessions(site_of(home, server, **({"command": command} if command else {})))
    program = server.home / "my venv" / "bin" / "hpckit"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (server.home / ".bash_profile").write_text("PATH=/usr/bin:/bin\n")
    if command == "~/my venv/bin/hpckit":
        assert find_program(session) == str(program)
        return
    where = "on the PATH of a login shell" if command is None else "at /nowhere/hpckit"
    with pytest.raises(LoginError, match=f"there is no hpckit {where} at near") as caught:
        find_program(session)
    assert "login: {command:" in (caught.value.hint or "")


def test_no_answer_in_time(near):
    session, _ = near
    session.run(["true"])
    start = time.monotonic()
    with pytest.raises(SshError, match="no answer from near within 1 s") as caught:
        session.run(["sleep", "20"], timeout_s=1)
    assert caught.value.exit_code == EX_TEMPFAIL and time.monotonic() - start < 10


def test_connection_that_is_cut_in_the_middle(near):
    session, server = near
    session.run(["true"])
    cutter = threading.Timer(1, server.cut)
    cutter.start()
    with pytest.raises(SshError, match="ended in the middle") as caught:
        session.run(["sleep", "30"])
    assert caught.value.fault.kind == "lost" and caught.value.exit_code == EX_TEMPFAIL
    assert session.run(["echo", "again"]).stdout == "again\n"


def test_server_that_is_gone(near):
    session, server = near
    server.stop()
    with pytest.raises(SshError, match="takes no connections at the moment") as caught:
        session.run(["true"])
    assert caught.value.exit_code == EX_TEMPFAIL


def test_key_that_the_site_does_not_know(near):
    session, server = near
    server.authorize([])
    with pytest.raises(SshError, match="does not accept the key") as caught:
        session.run(["true"])
    assert caught.value.fault.kind == "denied" and caught.value.exit_code == 1
    assert "id_ed25519.pub" in caught.value.hint


def test_host_key_that_nobody_has_seen(near, home):
    session, _ = near
    (home / ".ssh" / "known_hosts").unlink()
    with pytest.raises(SshError, match="is not known on this machine") as caught:
        session.run(["true"])
    assert "hpckit login open near" in caught.value.hint
    assert not (home / ".ssh" / "known_hosts").exists()


def test_host_key_that_has_changed(near, home):
    session, server = near
    server.stop()
    server.new_host_key()
    server.start()
    with pytest.raises(SshError, match="has changed") as caught:
        session.run(["true"])
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in caught.value.hint


def test_key_file_that_others_may_read(near, home):
    session, _ = near
    (home / ".ssh" / "id_ed25519").chmod(0o644)
    with pytest.raises(SshError, match="which others may read") as caught:
        session.run(["true"])
    assert caught.value.hint.startswith("chmod 600")


def test_users_own_settings_hold_and_do_no_harm(near, home):
    session, server = near
    (home / ".ssh" / "config").write_text(
        f"Host *\n  LocalForward 1 127.0.0.1:9\n  RequestTTY force\n  RemoteCommand reboot\n  BatchMode no\n"
        f"  UserKnownHostsFile {home}/elsewhere\n"
    )
    (home / ".ssh" / "known_hosts").rename(home / "elsewhere")
    assert session.run(["echo", "fine"]).stdout == "fine\n"
    assert server.log.count("Accepted publickey") == 1


def test_broken_settings_are_named(near, home):
    session, _ = near
    (home / ".ssh" / "config").write_text("Nonsense yes\n")
    with pytest.raises(SshError, match=r"not valid.*config.*line 1.*nonsense"):
        session.run(["true"])


def test_home_folder_with_a_long_name_and_spaces(home, servers, sessions, monkeypatch, tmp_path):
    far = tmp_path / "my home" / ("x" * 60)
    shutil.copytree(home / ".ssh", far / ".ssh")
    monkeypatch.setenv("HOME", str(far))
    server = servers(keys=[public_key(far)])
    know(far, server)
    session = sessions(site_of(far, server))
    assert session.run(["echo", "in"]).stdout == "in\n"
    assert session.is_open(), "the socket lies elsewhere"
    push(session, [far / ".ssh" / "known_hosts"], "x")
    assert (server.home / "x" / "known_hosts").read_text() == server.known_hosts


def test_over_a_jump_host(home, servers, sessions):
    gate, server = servers(keys=[public_key(home)]), servers(keys=[public_key(home)])
    know(home, gate, server)
    session = sessions(site_of(home, server, jump=[f"{gate.user}@127.0.0.1:{gate.port}"]))
    assert session.run(["pwd"]).stdout.strip() == str(server.home)
    assert "Accepted publickey" in gate.log and "Accepted publickey" in server.log
    assert session.probe().key_accepted


@pytest.mark.parametrize("fault", ["denied", "host key unknown", "refused"])
def test_jump_host_at_fault(home, servers, sessions, fault):
    gate, server = servers(keys=[] if fault == "denied" else [public_key(home)]), servers(keys=[public_key(home)])
    know(home, server, *([] if fault == "host key unknown" else [gate]))
    session = sessions(site_of(home, server, jump=[f"{gate.user}@127.0.0.1:{gate.port}"]))
    if fault == "refused":
        gate.stop()
    with pytest.raises(SshError) as caught:
        session.run(["true"])
    assert caught.value.fault.kind == fault
    assert not session.probe().key_accepted


def test_two_processes_at_once_leave_one_connection(near, home):
    session, _ = near
    answers: list[str] = []
    other = Session(session.access)
    threads = [
        threading.Thread(target=lambda s=s: answers.append(s.run(["echo", "x"]).stdout)) for s in (session, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["x\n", "x\n"]
    assert session.is_open() and session.close()
    limit = time.monotonic() + 10
    while masters(home) and time.monotonic() < limit:
        time.sleep(0.1)
    assert masters(home) == []


def masters(home: Path) -> list[str]:
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if str(home) in line and line.startswith("ssh")]


# --- files


@pytest.fixture(params=["rsync", "sftp"])
def way(request, near):
    """Copying by rsync, and without it at the site."""
    _, server = near
    if request.param == "sftp":
        # `command -v` finds no program in a PATH that holds only what else is needed.
        for program in ("sh", "mkdir", "env", "cat", "find", "printf"):
            (server.bin / program).symlink_to(shutil.which(program))
        (server.folder / "session").write_text((server.folder / "session").read_text().replace(":$PATH", ""))
    return request.param


def test_push_and_pull(near, way, tmp_path):
    session, server = near
    folder = tmp_path / "my 'campaign' [a]*"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / 'a "b" \\ $x.txt').write_text("inner")
    (folder / "-dash").write_text("dash")
    (tmp_path / "real.yaml").write_text("name: x")
    (folder / "link.yaml").symlink_to(tmp_path / "real.yaml")
    alone = tmp_path / "run:1.sh"
    alone.write_bytes(b"#!/bin/sh\n\0\xff")
    alone.chmod(0o755)

    push(session, [folder, alone], "hpckit/my runs")
    there = server.home / "hpckit" / "my runs"
    assert (there / folder.name / "sub" / 'a "b" \\ $x.txt').read_text() == "inner"
    assert (there / folder.name / "link.yaml").read_text() == "name: x"
    assert not (there / folder.name / "link.yaml").is_symlink()
    assert (there / alone.name).read_bytes() == alone.read_bytes()
    assert os.access(there / alone.name, os.X_OK)

    pull(session, f"hpckit/my runs/{alone.name}", tmp_path / "back")
    pull(session, [f"{there}/{folder.name}/"], tmp_path / "back")
    back = tmp_path / "back"
    assert (back / alone.name).read_bytes() == alone.read_bytes()
    assert (back / folder.name / "-dash").read_text() == "dash"
    assert (back / folder.name / "sub" / 'a "b" \\ $x.txt').read_text() == "inner"
    assert not list(back.glob(".*")) and not list(there.glob("**/*.partial"))


def test_push_again_brings_changes(near, way, tmp_path):
    session, server = near
    file = tmp_path / "campaign.yaml"
    for text in ("one", "two, longer"):
        file.write_text(text)
        push(session, [file], "x")
        assert (server.home / "x" / "campaign.yaml").read_text() == text


def test_copies_that_fail(near, way, tmp_path):
    session, server = near
    with pytest.raises(LoginError, match="no such file"):
        push(session, [tmp_path / "absent"], "x")
    (server.home / "file").write_text("")
    with pytest.raises(LoginError, match="cannot be made at near"):
        push(session, [tmp_path], "file/x")
    with pytest.raises(LoginError, match=r"not everything could be copied.*absent"):
        pull(session, "absent", tmp_path / "back")
    with pytest.raises(LoginError, match="is no path"):
        pull(session, "a\nb", tmp_path / "back")


def test_copy_that_is_cut_goes_on(near, way, tmp_path):
    session, server = near
    big = tmp_path / "big"
    big.write_bytes(os.urandom(1 << 20) * 200)
    session.run(["true"])
    stop = threading.Event()

    def cut() -> None:
        while not stop.is_set() and not any(file.is_file() for file in (server.home / "x").glob("*")):
            time.sleep(0.001)
        server.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    with pytest.raises(SshError, match=r"broke while|ended in the middle") as caught:
        push(session, [big], "x")
    stop.set()
    cutter.join()
    assert caught.value.exit_code == EX_TEMPFAIL
    push(session, [big], "x")
    assert (server.home / "x" / "big").read_bytes() == big.read_bytes()


# --- check


@pytest.fixture
def agent(home, monkeypatch):
    """An agent of one's own."""
    socket = home / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    while not socket.exists():
        time.sleep(0.01)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    yield lambda *words: subprocess.run(["ssh-add", "-q", *words], check=True, env={**os.environ, "HOME": str(home)})
    process.terminate()
    process.wait()


def found(session: Session) -> dict[str, Finding]:
    return {finding.what: finding for finding in check(session)}


def program(server: SshServer, name: str, text: str) -> None:
    """A program that only the profile brings into PATH, as at many sites."""
    folder = server.home / "profile bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    (server.home / ".bash_profile").write_text(f"echo Welcome\nPATH='{folder}':$PATH\n")


def test_check_of_a_sound_login(near, home):
    session, server = near
    program(server, "sacctmgr", 'test "$5" = user=$(id -un) && echo "crop||normal,long"; echo "crop|gpu|gpu"')
    findings = check(session)
    assert not failed(findings)
    by_name = {finding.what: finding for finding in findings}
    for name in ("name", "key", "type", "permissions", "host", "host key", "login", "groups", "accounts"):
        assert by_name[name].ok is True, by_name[name]
    assert by_name["accounts"].says == "you may use crop"
    shown = subprocess.run(["ssh-keygen", "-l", "-f", home / ".ssh" / "id_ed25519"], capture_output=True, text=True)
    assert by_name["fingerprint"].says.startswith(shown.stdout.split()[1])
    assert by_name["agent"].ok is None
    assert session.is_open() and found(session)["login"].says.startswith("a session with near is open")


def test_check_with_accounts_and_groups_that_are_missing(home, servers, sessions):
    server = servers(keys=[public_key(home)])
    know(home, server)
    accounts = [
        {"co": "mycrop", "account": "crop", "unix_group": "no-such-group"},
        {"co": "other", "account": "other", "unix_group": "other"},
    ]
    user = server.user if len(server.user) <= 16 else pytest.skip("SRAM has no such user names")
    site = site_of(home, server, user="{uid}", federation="sram", accounts=accounts)
    session = sessions(site, co="mycrop", uid=user)
    program(server, "sacctmgr", "echo 'forest||normal'")
    findings = found(session)
    assert "is not in the Unix group no-such-group" in findings["groups"].says
    assert findings["accounts"].says == "the site file names account crop; Slurm has forest for you"
    program(server, "sacctmgr", "echo 'sacctmgr: error: Access/permission denied' >&2; exit 1")
    assert "Access/permission denied" in found(session)["accounts"].says
    program(server, "sacctmgr", "true")
    assert found(session)["accounts"].ok is None and "lists none" in found(session)["accounts"].says
    assert not failed(check(session)), "accounts are a warning"


def test_check_of_a_refused_login_at_a_federated_site(home, servers, sessions):
    server = servers(keys=[])
    know(home, server)
    session = sessions(site_of(home, server, federation="sram", sync_min=[20, 45]))
    findings = found(session)
    assert findings["login"].ok is False and findings["groups"].ok is None
    assert "20 to 45 minutes" in findings["delay"].says
    assert "AUP" in findings["terms of use"].says and "suspended" in findings["membership"].says
    done = hpckit("login", "check", "near", home=home)
    assert done.returncode == 1
    assert re.search(r"^no  login +near does not accept the key", done.stdout, re.MULTILINE)
    told = json.loads(hpckit("login", "check", "near", "--json", home=home).stdout)
    assert [each["what"] for each in told] == list(findings)


def test_check_without_key_network_and_host_key(home, servers, sessions):
    server = servers(keys=[public_key(home)])
    session = sessions(site_of(home, server))
    assert found(session)["host key"].ok is False
    server.stop()
    for name in ("id_ed25519", "id_ed25519.pub"):
        (home / ".ssh" / name).unlink()
    findings = found(session)
    assert findings["key"].ok is False and "ssh-keygen -t ed25519" in findings["key"].remedy
    assert findings["host"].ok is False and "refused" in findings["host"].says
    assert findings["login"].ok is False and "takes no connections" in findings["login"].says


def test_check_of_key_files(near, home):
    session, _ = near
    private = home / ".ssh" / "id_ed25519"
    private.chmod(0o640)
    assert found(session)["permissions"].remedy == f"chmod 600 {private}"
    private.chmod(0o600)
    other = make_key(home / "other")
    (home / ".ssh" / "id_ed25519.pub").write_text(other)
    assert found(session)["pair"].ok is False
    private.write_text("nonsense")
    assert found(session)["key"].ok is False


def test_check_of_a_locked_key(near, home, agent):
    session, server = near
    for name in ("id_ed25519", "id_ed25519.pub"):
        (home / ".ssh" / name).unlink()
    server.authorize([make_key(home / ".ssh" / "id_ed25519", passphrase="secret")])
    findings = found(session)
    assert findings["agent"].ok is False and findings["agent"].remedy.startswith("ssh-add")
    assert findings["login"].ok is False and "knows the key, but its passphrase" in findings["login"].says
    plain = home / "plain"
    shutil.copy(home / ".ssh" / "id_ed25519", plain)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "secret", "-N", "", "-f", plain], check=True)
    agent(str(plain))
    findings = found(session)
    assert findings["agent"].ok is True and findings["login"].ok is True


def test_check_of_a_key_that_only_the_agent_has(near, home, agent):
    session, _ = near
    agent(str(home / ".ssh" / "id_ed25519"))
    (home / ".ssh" / "id_ed25519").unlink()
    findings = found(session)
    assert findings["key"].says.startswith("the agent holds") and findings["login"].ok is True


def test_check_where_a_code_is_wanted(coded):
    session, server, _ = coded
    findings = check(session)
    login = next(finding for finding in findings if finding.what == "login")
    assert login.ok is None and "takes the key, and wants a code" in login.says
    assert login.remedy == "open a session first: hpckit login open near"
    assert not failed(findings)
    server.authorize([])
    assert found(session)["login"].ok is not True


# --- a person at a terminal


@pytest.fixture
def coded(home, servers, sessions):
    """A site that wants the key and a code, as with pam-weblogin, and a choice of two groups."""
    try:
        weblogin = Weblogin("4711", ["mycrop", "forest"])
    except (FileNotFoundError, PermissionError) as error:
        pytest.skip(str(error))
    server = servers(keys=[public_key(home)], weblogin=weblogin)
    know(home, server)
    return sessions(site_of(home, server, interactive=True)), server, weblogin


def test_code_and_group_are_asked_once(coded, home):
    session, server, weblogin = coded
    with pytest.raises(SshError, match="only you can give") as caught:
        session.run(["true"])
    assert caught.value.hint == "open a session first: hpckit login open near"
    assert "keyboard-interactive" not in server.log, "a batch command must not even try"

    person = Person(["login", "open", "near"], home)
    person.expect("Enter verification code:")
    assert weblogin.link in person.seen
    person.type("0000")
    person.expect("Enter verification code:")
    person.type(weblogin.code)
    person.expect("Select group:")
    person.type("2")
    assert person.finish() == 0, person.seen
    assert session.run(["echo", "in"]).stdout == "in\n"

    status = hpckit("login", "status", "near", home=home)
    assert (status.returncode, status.stdout) == (0, f"near: open, as {server.user}\n")
    assert hpckit("login", "open", "near", home=home).stderr.startswith("near: already open")
    assert hpckit("login", "close", "near", home=home).stderr == "near: closed\n"
    assert hpckit("login", "status", "near", home=home).returncode == 1
    with pytest.raises(SshError, match="only you can give"):
        session.run(["true"])


def test_jump_host_that_wants_a_code(home, servers, sessions, coded):
    _, gate, weblogin = coded
    server = servers(keys=[public_key(home)])
    know(home, gate, server)
    session = sessions(site_of(home, server, interactive=True, jump=[f"{gate.user}@127.0.0.1:{gate.port}"]))
    person = Person(["login", "open", "near"], home)
    person.expect("Enter verification code:")
    assert weblogin.link in person.seen, "what a jump host prints must be seen"
    person.type(weblogin.code)
    person.expect("Select group:")
    person.type("1")
    assert person.finish() == 0, person.seen
    assert session.run(["pwd"]).stdout.strip() == str(server.home)
    assert session.close() and not session.is_open()


def test_wrong_codes(coded, home):
    session, _, _ = coded
    person = Person(["login", "open", "near"], home)
    for _ in range(3):
        person.expect("Enter verification code:")
        person.type("1234")
    person.expect("Enter verification code:")  # sshd begins anew until the person gives up
    person.type("\x03")
    code = person.finish()
    assert code != 0 and not session.is_open()


def test_code_without_key_shows_what_ssh_would_need(coded):
    session, _, _ = coded
    probe = session.probe()
    assert probe.key_accepted and probe.fault is not None and probe.fault.kind == "interactive"


def test_no_terminal(coded, home):
    done = hpckit("login", "open", "near", home=home)
    assert done.returncode == 1 and "there is no terminal" in done.stderr


def test_unknown_host_is_asked_about_and_remembered(near, home):
    _, server = near
    (home / ".ssh" / "known_hosts").unlink()
    # ssh takes the home folder from the password database; what it learns must go to this test's.
    person = Person(["login", "open", "near"], home)
    person.expect("fingerprint is SHA256:")
    person.expect("(yes/no")
    person.type("yes")
    assert person.finish() == 0, person.seen
    assert server.host_key.split()[1] in (home / ".ssh" / "known_hosts").read_text()


def test_passphrase_is_asked(near, home):
    session, server = near
    for name in ("id_ed25519", "id_ed25519.pub"):
        (home / ".ssh" / name).unlink()
    server.authorize([make_key(home / ".ssh" / "id_ed25519", passphrase="open sesame")])
    with pytest.raises(SshError, match="locked by a passphrase"):
        session.run(["true"])
    person = Person(["login", "open", "near"], home)
    person.expect("Enter passphrase")
    person.type("open sesame")
    assert person.finish() == 0, person.seen
    assert session.run(["echo", "in"]).stdout == "in\n"


def test_refused_login_says_why(near, home):
    _, server = near
    server.authorize([])
    done = hpckit("login", "open", "near", home=home)
    assert done.returncode == 1 and "did not succeed" in done.stderr and "id_ed25519.pub" in done.stderr
    server.stop()
    done = hpckit("login", "open", "near", home=home)
    assert done.returncode == EX_TEMPFAIL and "takes no connections" in done.stderr


def test_written_block_serves_plain_ssh(near, home):
    session, _ = near
    shown = hpckit("login", "show", "near", "--write", home=home)
    assert shown.returncode == 0 and "Include" in shown.stderr
    facts = json.loads(hpckit("login", "show", "near", "--json", home=home).stdout)
    assert facts["config"] == shown.stdout and not facts["included"]
    config = home / ".ssh" / "config"
    config.write_text(f"{facts['include']}\nHost *\n  UserKnownHostsFile {home}/.ssh/known_hosts\n")
    plain = subprocess.run(
        ["ssh", "-F", config, "hpckit-near", "echo plain"], capture_output=True, text=True, check=True, timeout=30
    )
    assert plain.stdout == "plain\n"
    assert session.is_open(), "plain ssh and hpckit share one connection"
    assert json.loads(hpckit("login", "show", "near", "--json", home=home).stdout)["included"]
