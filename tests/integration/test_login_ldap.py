"""`hpckit login members` against a real slapd with SRAM's tree, and members with every kind of fault."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from hpckit.errors import EX_TEMPFAIL, LoginError
from hpckit.sites.login.members import PASSWORD, Member, read_members
from hpckit.sites.site import Site
from tests.login_samples import hpckit, write_site
from tests.servers.slapd import LdapServer, Person
from tests.servers.sshd import make_key

pytest.importorskip("ldap3")
# ldap3 compares names by a function that Python 3.12 no longer has; there it brings its own.
pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore:ssl.match_hostname:DeprecationWarning")]

MANY = 130


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> dict[str, Path]:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("there is no ssh-keygen here")
    folder = tmp_path_factory.mktemp("keys")
    for kind in ("ed25519", "ecdsa"):
        make_key(folder / kind, kind)
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", folder / "short"], check=True)
    return {path.stem: path for path in folder.glob("*.pub")}


@pytest.fixture(scope="module")
def server(keys):
    try:
        server = LdapServer()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    try:
        fill(server, keys)
        yield server.start()
    finally:
        server.remove()


def fill(server: LdapServer, keys: dict[str, Path]) -> None:
    good, other, short = (keys[name].read_text() for name in ("ed25519", "ecdsa", "short"))
    server.add_collaboration(
        "uva",
        "mycrop",
        [
            Person("jdoe", keys=(good, other), groups=("hpc_login",)),
            Person("jdoe2", keys=(good,), agreed=None, groups=("hpc_login",)),
            Person("nokey", groups=("hpc_login",)),
            Person("short", keys=(short,), groups=("hpc_login",)),
            Person("one-good", keys=(short, good), groups=("hpc_login", "other")),
            Person("junk", keys=("my key", "ssh-dss AAAAB3NzaC1kc3MAAAABAA== x"), groups=("hpc_login",)),
            Person("expired", status="expired", keys=(good,), groups=("hpc_login",)),
            Person("suspended", status="suspended", keys=(good,), groups=("hpc_login",)),
            Person("nogroup", keys=(good,)),
            Person("a-name-that-is-much-too-long", keys=(good,), groups=("hpc_login",)),
            Person("bad;name", keys=(good,), groups=("hpc_login",)),
            Person("all-wrong", status="suspended", agreed=None),
        ],
    )
    server.add_collaboration("tue", "forest", [Person(f"user{number}", keys=(good,)) for number in range(MANY)])
    server.add_collaboration("tue", "empty", [])


@pytest.fixture
def site(server, tmp_path, monkeypatch) -> Site:
    monkeypatch.setenv(PASSWORD, server.password)
    accounts = [{"co": "mycrop", "group": "hpc_login", "account": "crop"}]
    return write_site(tmp_path / "delena.yaml", ldap=server.uri, accounts=accounts)


@pytest.fixture
def members(site, server) -> dict[str, Member]:
    return {member.uid: member for member in read_members(site, co="mycrop", ca_file=server.ca_file)}


@pytest.mark.parametrize(
    ("uid", "missing"),
    [
        ("jdoe", []),
        ("jdoe2", ["has not accepted the terms of use"]),
        ("nokey", ["has no ssh key"]),
        ("short", ["has no ssh key that serves: an RSA key of 1024 bits is too short; servers ask for 2048"]),
        ("one-good", []),
        ("expired", ["the membership is expired", "is in none of the groups hpc_login"]),
        ("suspended", ["the membership is suspended"]),
        ("nogroup", ["is in none of the groups hpc_login"]),
        ("a-name-that-is-much-too-long", ["the user name 'a-name-that-is-much-too-long' makes no login name"]),
        ("bad;name", ["the user name 'bad;name' makes no login name"]),
        (
            "all-wrong",
            [
                "the membership is suspended",
                "has not accepted the terms of use",
                "has no ssh key",
                "is in none of the groups hpc_login",
            ],
        ),
    ],
)
def test_what_is_missing(members, uid, missing):
    assert list(members[uid].missing) == missing
    assert members[uid].may_login is (not missing)


def test_keys_that_cannot_be_read(members):
    objections = sorted(key.objection for key in members["junk"].keys)
    assert objections == [
        "SRAM does not take keys of type ssh-dss",
        "a key that cannot be read (no public key of OpenSSH)",
    ]
    assert members["junk"].missing[0].startswith("has no ssh key that serves: ")


def shown(path: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


def test_who_they_are(members, keys):
    jdoe = members["jdoe"]
    assert (jdoe.org, jdoe.co, jdoe.login, jdoe.status) == ("uva", "mycrop", "sram-mycrop-jdoe", "active")
    assert jdoe.agreed.isoformat() == "2023-11-14T22:13:20+00:00" and jdoe.groups == ("hpc_login",)
    told = {shown(keys[name]) for name in ("ed25519", "ecdsa")}
    assert {key.fingerprint for key in jdoe.keys} == told


def test_more_members_than_one_answer_holds(site, server):
    found = read_members(site, ca_file=server.ca_file)
    assert sum(member.co == "forest" for member in found) == MANY
    assert {member.co for member in found} == {"mycrop", "forest"}
    assert all(member.may_login for member in found if member.co == "forest")


def test_templates_with_organisation_and_service(server, tmp_path, site):
    other = write_site(tmp_path / "b.yaml", user="{service}-{org}-{co}-{uid}", ldap=server.uri)
    found = {member.uid: member.login for member in read_members(other, co="mycrop", ca_file=server.ca_file)}
    assert found["jdoe"] == "hpc-uva-mycrop-jdoe"


def test_unknown_collaboration(site, server):
    with pytest.raises(LoginError, match="no collaboration 'nothing'") as caught:
        read_members(site, co="nothing", ca_file=server.ca_file)
    assert caught.value.hint == "there are empty, forest, mycrop"
    assert read_members(site, co="empty", ca_file=server.ca_file) == []


def test_passwords(site, server, monkeypatch):
    monkeypatch.setenv(PASSWORD, "wrong one")
    with pytest.raises(LoginError, match="refuses the password of cn=admin,dc=hpc") as caught:
        read_members(site, ca_file=server.ca_file)
    assert "wrong one" not in str(caught.value)
    for absent in (lambda: monkeypatch.setenv(PASSWORD, ""), lambda: monkeypatch.delenv(PASSWORD)):
        absent()
        with pytest.raises(LoginError, match="is not there") as caught:
            read_members(site, ca_file=server.ca_file)
        assert PASSWORD in caught.value.hint


def test_certificates_that_are_not_trusted(site, server):
    for authority in (None, server.other_authority()):
        with pytest.raises(LoginError, match=r"is not trusted: certificate verify failed") as caught:
            read_members(site, ca_file=authority)
        assert "--ca-file" in caught.value.hint


def test_certificate_of_another_name(site, server):
    with pytest.raises(LoginError, match="is not trusted"):
        read_members(site, ca_file=server.ca_file, uri=server.uri.replace("localhost", "127.0.0.1"))


def test_no_password_without_tls(site, server):
    assert read_members(site, co="mycrop", ca_file=server.ca_file, uri=server.starttls_uri)
    with pytest.raises(LoginError, match="is not trusted"):
        read_members(site, uri=server.starttls_uri)
    with pytest.raises(LoginError, match="no address of an LDAP server"):
        read_members(site, uri="http://localhost")


def test_server_that_is_away(site):
    with pytest.raises(LoginError, match="cannot be reached") as caught:
        read_members(site, uri="ldaps://127.0.0.1:1")
    assert caught.value.exit_code == EX_TEMPFAIL


def test_wrong_service(server, tmp_path, site):
    other = write_site(tmp_path / "c.yaml", ldap=server.uri, base_dn="dc=nope,dc=services,dc=sram,dc=surf,dc=nl")
    with pytest.raises(LoginError, match=r"has no dc=ordered,dc=nope"):
        read_members(other, ca_file=server.ca_file, bind_dn=server.admin)


def test_sites_that_are_not_srams(tmp_path, site):
    own = write_site(tmp_path / "d.yaml", federation="own")
    with pytest.raises(LoginError, match="are not SRAM's"):
        read_members(own)
    bare = write_site(tmp_path / "e.yaml", service=None)
    with pytest.raises(LoginError, match="does not say which service"):
        read_members(bare)


def test_command(site, server, tmp_path):
    words = ["login", "members", str(site.path), "--ldap", "--co", "mycrop", "--ca-file", str(server.ca_file)]
    done = hpckit(*words, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sram-mycrop-jdoe2" in done.stdout and "has not accepted the terms of use" in done.stdout
    assert done.stdout.endswith("2 of 12 may log in\n")
    told = json.loads(hpckit(*words, "--json", home=tmp_path).stdout)
    assert sum(each["may_login"] for each in told) == 2
    assert server.password not in done.stdout + done.stderr


def test_command_for_members(site, tmp_path):
    done = hpckit("login", "members", str(site.path), home=tmp_path)
    assert done.returncode == 1 and "only the operator" in done.stderr
