"""An LDAP server of one's own with SRAM's tree and schema, for tests: real, with TLS, gone afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_START_S = 20
_SCHEMAS = ("/etc/ldap/schema", "/etc/openldap/schema")
_MODULES = ("/usr/lib/ldap", "/usr/lib64/openldap", "/usr/lib/openldap")
# Names and forms as SRAM writes them; the numbers are examples of ours (1.3.6.1.4.1.32473 is for documentation).
_SRAM_SCHEMA = """\
attributetype ( 1.3.6.1.4.1.32473.1.1 NAME 'sshPublicKey'
  EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
attributetype ( 1.3.6.1.4.1.32473.1.2 NAME 'voPersonStatus'
  EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.32473.1.3 NAME 'voPersonPolicyAgreement'
  EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.32473.1.5 NAME 'sramInactiveDays'
  EQUALITY integerMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 )
objectclass ( 1.3.6.1.4.1.32473.2.1 NAME 'ldapPublicKey' SUP top AUXILIARY MUST sshPublicKey )
objectclass ( 1.3.6.1.4.1.32473.2.2 NAME 'voPerson' SUP top AUXILIARY
  MAY ( voPersonStatus $ voPersonPolicyAgreement ) )
objectclass ( 1.3.6.1.4.1.32473.2.3 NAME 'sramPerson' SUP top AUXILIARY MAY sramInactiveDays )
objectclass ( 1.3.6.1.4.1.32473.2.4 NAME 'groupOfMembers' SUP top STRUCTURAL
  MUST cn MAY ( member $ uniqueIdentifier $ displayName $ description ) )
objectclass ( 1.3.6.1.4.1.32473.2.5 NAME 'sramCollaboration' SUP top AUXILIARY
  MAY ( uniqueIdentifier $ displayName ) )
"""


@dataclass(frozen=True, slots=True)
class Person:
    """A member of a collaboration."""

    uid: str
    status: str = "active"
    keys: tuple[str, ...] = ()
    agreed: int | None = 1700000000
    """When the terms of use were accepted, in seconds since 1970; None if they were not."""
    groups: tuple[str, ...] = ()


class LdapServer:
    """A slapd in a temporary folder that speaks LDAP over TLS only, with a certificate authority of its own.

    Parameters
    ----------
    service : str
        Short name of the service.
    password : str
        Of the service's administrator.
    size_limit : int
        Entries that one answer may hold, so that a search must ask for pages.

    Raises
    ------
    FileNotFoundError
        If there is no slapd or no openssl.
    """

    def __init__(self, service: str = "hpc", password: str = "open sesame", size_limit: int = 50) -> None:
        self._slapd = _program("slapd", "slapd")
        self._slapadd = _program("slapadd", "slapd")
        self._openssl = _program("openssl", "openssl")
        self.base_dn = f"dc={service},dc=services,dc=sram,dc=surf,dc=nl"
        self.password = password
        self.folder = Path(tempfile.mkdtemp(prefix="hpckit-slapd-", dir="/tmp"))
        self.port, self.plain_port = _free_port(), _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (self.folder / "db").mkdir()
        self._make_certificates()
        self._write_config(size_limit)
        self._add(_root(self.base_dn, service))

    @property
    def admin(self) -> str:
        """Name with which the service's operator binds."""
        return f"cn=admin,{self.base_dn}"

    @property
    def uri(self) -> str:
        """Address; the certificate is for this name."""
        return f"ldaps://localhost:{self.port}"

    @property
    def starttls_uri(self) -> str:
        """Address where TLS begins after the connection; nothing is answered before."""
        return f"ldap://localhost:{self.plain_port}"

    @property
    def ca_file(self) -> Path:
        """Certificate of the authority."""
        return self.folder / "ca.pem"

    def add_collaboration(self, org: str, co: str, people: Sequence[Person]) -> None:
        """Add a collaboration with its members; before `start`."""
        top = f"o={org}.{co},dc=ordered,{self.base_dn}"
        entries = [
            _entry(top, {"objectClass": ["organization", "sramCollaboration"], "o": [f"{org}.{co}"]}),
            *(
                _entry(f"ou={name},{top}", {"objectClass": ["organizationalUnit"], "ou": [name]})
                for name in ("People", "Groups")
            ),
            *(_person(person, top) for person in people),
        ]
        # Members who have expired stay as persons and leave the groups.
        current = [person for person in people if person.status != "expired"]
        groups = {"@all": current}
        for person in current:
            for group in person.groups:
                groups.setdefault(group, []).append(person)
        for name, members in groups.items():
            names = [_dn(person, top) for person in members]
            facts = {"objectClass": ["groupOfMembers"], "cn": [name], "member": names}
            entries.append(_entry(f"cn={name},ou=Groups,{top}", facts))
        self._add("\n".join(entries))

    def start(self) -> LdapServer:
        """Start the server and wait until it answers."""
        listen = f"ldaps://127.0.0.1:{self.port}/ ldap://127.0.0.1:{self.plain_port}/"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._slapd, "-d", "0", "-f", self.folder / "slapd.conf", "-h", listen],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        limit = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError("slapd does not start:\n" + (self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)
        return self

    def remove(self) -> None:
        """Stop the server and delete its files."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2):
            return True
        return False

    def _write_config(self, size_limit: int) -> None:
        schemas = next((folder for folder in _SCHEMAS if Path(folder, "core.schema").exists()), _SCHEMAS[0])
        modules = next((folder for folder in _MODULES if Path(folder).is_dir()), None)
        (self.folder / "sram.schema").write_text(_SRAM_SCHEMA)
        lines = [
            *(f"include {schemas}/{name}.schema" for name in ("core", "cosine", "inetorgperson")),
            f"include {self.folder}/sram.schema",
            # `voPersonPolicyAgreement;time-1700000000`
            "attributeoptions lang- time-",
            *([f"modulepath {modules}", "moduleload back_mdb"] if modules else []),
            f"pidfile {self.folder}/pid",
            f"TLSCACertificateFile {self.ca_file}",
            f"TLSCertificateFile {self.folder}/server.pem",
            f"TLSCertificateKeyFile {self.folder}/server.key",
            "security tls=1",
            "database mdb",
            "maxsize 67108864",
            f'suffix "{self.base_dn}"',
            f"directory {self.folder}/db",
            # No rootdn, to which limits would not apply: the service's administrator is an entry.
            f'limits dn.exact="{self.admin}" size.soft={size_limit} size.hard={size_limit} size.prtotal=none',
            f'access to * by dn.exact="{self.admin}" read by anonymous auth by * none',
        ]
        (self.folder / "slapd.conf").write_text("\n".join(lines) + "\n")

    def _add(self, entries: str) -> None:
        admin = ""
        if not any((self.folder / "db").iterdir()):
            admin = _entry(
                self.admin,
                {
                    "objectClass": ["organizationalRole", "simpleSecurityObject"],
                    "cn": ["admin"],
                    "userPassword": [self.password],
                },
            )
        done = subprocess.run(
            [self._slapadd, "-q", "-f", self.folder / "slapd.conf"],
            input=f"{entries}\n{admin}",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"slapadd: {done.stderr[-2000:]}")

    def _make_certificates(self) -> None:
        self._make_authority("ca")
        self._run("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
                  "-keyout", "server.key", "-out", "server.csr")  # fmt: skip
        (self.folder / "names").write_text("subjectAltName=DNS:localhost\n")
        self._run("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                  "-days", "2", "-extfile", "names", "-out", "server.pem")  # fmt: skip

    def other_authority(self) -> Path:
        """Certificate of an authority that has not signed this server's."""
        self._make_authority("other")
        return self.folder / "other.pem"

    def _make_authority(self, name: str) -> None:
        self._run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN=hpckit test {name}",
                  "-keyout", f"{name}.key", "-out", f"{name}.pem")  # fmt: skip

    def _run(self, *words: str) -> None:
        subprocess.run([self._openssl, *words], cwd=self.folder, check=True, capture_output=True)


def _root(base_dn: str, service: str) -> str:
    return "\n".join(
        [
            _entry(base_dn, {"objectClass": ["dcObject", "organization"], "dc": [service], "o": [service]}),
            _entry(
                f"dc=ordered,{base_dn}",
                {"objectClass": ["dcObject", "organization"], "dc": ["ordered"], "o": ["ordered"]},
            ),
        ]
    )


def _person(person: Person, top: str) -> str:
    facts: dict[str, Sequence[str]] = {
        "objectClass": ["inetOrgPerson", "voPerson", "sramPerson", *(["ldapPublicKey"] if person.keys else [])],
        "uid": [person.uid],
        "cn": [f"{person.uid}@sram.example"],
        "sn": [person.uid],
        "voPersonStatus": [person.status],
        "sshPublicKey": person.keys,
    }
    if person.agreed is not None:
        facts[f"voPersonPolicyAgreement;time-{person.agreed}"] = ["https://example.org/aup"]
    return _entry(_dn(person, top), facts)


def _dn(person: Person, top: str) -> str:
    uid = "".join(f"\\{ord(letter):02x}" if letter in ',+"\\<>;=#' else letter for letter in person.uid)
    return f"uid={uid},ou=People,{top}"


def _entry(dn: str, facts: Mapping[str, Sequence[str]]) -> str:
    lines = [f"{name}: {value.strip()}" for name, values in facts.items() for value in values]
    return "\n".join([f"dn: {dn}", *lines, ""])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError(f"no {name} is installed (Debian: {package})")
    return found
