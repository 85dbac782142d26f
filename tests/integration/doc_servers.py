"""Fixtures: what the commands of the documentation need. A page asks by `with NAME` for the servers it uses.

The fixture `with_NAME` starts a server once for all pages. It gives a function that puts the files of its users into
a home folder, and returns the variables of their environment.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg2
import pytest

from tests import products
from tests.doc_commands import ROOT
from tests.servers import catalogues, stac
from tests.servers.bucket import Bucket
from tests.servers.catalogues import Answer
from tests.servers.files import FileServer, serve
from tests.servers.pbs import PbsServer
from tests.servers.postgres import PostgresServer
from tests.servers.slapd import LdapServer, Person
from tests.servers.slurm import SlurmCluster
from tests.servers.sshd import SshServer, make_key
from tests.servers.stac import StacServer
from tests.servers.systemd import Systemd
from tests.small_campaign import pixels_of, write_zones, zones
from tests.stac_samples import SENSED, write_item
from tests.wheels import build_wheel

GivesAccess = Callable[[Path], dict[str, str]]
FARM: Final = """\
name: wheat
aoi: parcels.gpkg
period: 2024-04-20/..
scenes: {{paths: [{scenes}]}}
cube: {{bands: [B02, B03, B04, B08, SCL]}}
reductions:
  - name: parcels
    zones: parcels.gpkg
    id: fid
    bands: [B04, B08]
    attributes: [crop]
    indices: {{NDVI: (B08 - B04) / (B08 + B04)}}
  - name: monthly
    kind: composite
    bands: [B02, B03, B04, B08]
    indices: {{NDVI: (B08 - B04) / (B08 + B04)}}
    methods: [median, p90, count]
    period: month
markers:
  - {{name: mowing, preset: mowing}}
"""
FIELDS: Final = """\
name: fields
aoi: zones.gpkg
period: 2024-04-01/2024-12-31
scenes: {paths: [SCENES], hosts: [127.0.0.1]}
cube: {keep: false, bands: [red, SCL]}
reductions:
  - {name: parcels, zones: zones.gpkg, id: name, bands: [red]}
"""
GRAPH: Final = """\
{"process_graph": {
  "load": {"process_id": "load_collection", "arguments": {"id": "S2", "spatial_extent": null,
           "temporal_extent": ["2024-05-01", "2024-05-31"], "bands": ["B04", "B08"]}},
  "ndvi": {"process_id": "ndvi", "arguments": {"data": {"from_node": "load"}, "nir": "B08", "red": "B04"}},
  "save": {"process_id": "save_result", "arguments": {"data": {"from_node": "ndvi"}, "format": "GTiff"},
           "result": true}}}
"""
IMAGES: Final = "sentinel-cogs.s3.us-west-2.amazonaws.com"
SERVED_GRAPH: Final = GRAPH.replace(
    '"load_collection", "arguments": {"id": "S2"',
    '"load_stac", "arguments": {"url": "https://earth-search.aws.element84.com/v1/collections/sentinel-2-l2a/items"',
)
SITE: Final = """\
scheduler: slurm
partitions:
- {name: short, cores: 2, memory_mib: 4000, walltime: 60min}
- {name: staging, cores: 2, memory_mib: 4000, walltime: 1d, network: true}
stages: {default: {ranks: 1, cores: 1}}
account: {default: eo}
poll: {first_s: 1, submit_pause_s: 0, timeout_s: 60}
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A demonstration of some dates with its results; a campaign with composites on its products, new and done."""
    folder = tmp_path_factory.mktemp("prepared")
    environment = environment_of(folder, folder)
    hpckit(folder, environment, "demo", "--only-data", "--dates", "7", "demo")
    hpckit(folder, environment, "run", "demo/campaign.yaml")
    farm = folder / "farm"
    farm.mkdir()
    (farm / "campaign.yaml").write_text(FARM.format(scenes=folder / "demo" / "scenes"))
    shutil.copy(folder / "demo" / "parcels.gpkg", farm)
    (farm / "ndvi.json").write_text(GRAPH)
    done = folder / "done"
    shutil.copytree(farm, done)
    hpckit(done, environment, "run", "campaign.yaml")
    _small_campaign(folder / "fields")
    yield folder
    shutil.rmtree(folder)


def _small_campaign(folder: Path) -> None:
    """Signatures of two dates, without a cube: three short jobs on a cluster. Its images are STAC items."""
    for number in range(2):
        pixels = {key: pixels_of(number)[key] for key in ("B04@10m", "SCL@20m")}
        write_item(folder / "scenes", pixels, "stactools", sensed=SENSED + timedelta(days=5 * number))
    write_zones(folder / "zones.gpkg", zones(8))
    (folder / "campaign.yaml").write_text(FIELDS.replace("SCENES", str(folder / "scenes")))


def environment_of(prepared: Path, home: Path) -> dict[str, str]:
    """The environment of somebody who reads the pages, with a program `hpckit` first on the PATH."""
    programs = home / "programs"
    programs.mkdir(exist_ok=True)
    write_hpckit(programs / "hpckit")
    ours = {"HOME": str(home), "PREPARED": str(prepared), "SOURCE": str(ROOT), "LC_ALL": "C.UTF-8"}
    ours["PATH"] = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SSH_", "PG"))}
    return {**kept, **ours, "XDG_CONFIG_HOME": str(home / ".config"), "XDG_STATE_HOME": str(home / ".state")}


def write_hpckit(path: Path, environment: Mapping[str, str] | None = None) -> Path:
    """A program that starts this hpckit, also where nothing of the environment of these tests is left."""
    needed = {name: os.environ[name] for name in ("PYTHONPATH", "HPCKIT_KERNELS", "NUMBA_NUM_THREADS")}
    lines = [f'export {name}="{value}"' for name, value in {**needed, **(environment or {})}.items()]
    path.write_text("\n".join(["#!/bin/sh", *lines, f'exec {sys.executable} -m hpckit "$@"', ""]))
    path.chmod(0o755)
    return path


def hpckit(folder: Path, environment: Mapping[str, str], *words: str) -> None:
    """Run a command that must succeed."""
    command = [sys.executable, "-m", "hpckit", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key for ssh."""
    path = tmp_path_factory.mktemp("key") / "id_ed25519"
    make_key(path)
    return path


def login_node(key: Path) -> SshServer:
    """A login node that takes the key and has hpckit."""
    try:
        server = SshServer(keys=[key.with_name(f"{key.name}.pub").read_text()])
    except (FileNotFoundError, PermissionError) as error:
        pytest.skip(str(error))
    write_hpckit(server.bin / "hpckit")
    return server.start()


def _give_key(home: Path, key: Path, server: SshServer) -> None:
    for path in (key, key.with_name(f"{key.name}.pub")):
        shutil.copy(path, home / ".ssh")
    (home / ".ssh" / "known_hosts").write_text(server.known_hosts)


@pytest.fixture(scope="module")
def with_cluster(key: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GivesAccess]:
    """A Slurm under the names that pages have for clusters, and its login node; home folder there: $CLUSTER."""
    try:
        cluster = SlurmCluster(nodes=2, partitions=("short Default=YES MaxTime=60", "staging MaxTime=1-0"))
    except FileNotFoundError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("cluster")
    server = login_node(key)
    sites = folder / "sites"
    sites.mkdir()
    access = {**cluster.env, "HPCKIT_SITES": str(sites), "CLUSTER": str(server.home)}
    # Who logs in gets the environment of the cluster.
    exported = "".join(f"export {name}={value}\n" for name, value in access.items())
    (server.home / ".bash_profile").write_text(f"{exported}export PATH={server.bin}:$PATH\n")
    login = {"host": "127.0.0.1", "port": server.port, "user": server.user}
    (sites / "snellius.yaml").write_text(
        f'name: snellius\nidentify: {{hostname: ".*"}}\nlogin: {json.dumps(login)}\n{SITE}'
    )

    def give(home: Path) -> dict[str, str]:
        _give_key(home, key, server)
        return access

    try:
        with cluster:
            cluster.run("sacctmgr", "-i", "add", "account", "myproject", "Description=eo", "Organization=eo")
            cluster.run("sacctmgr", "-i", "add", "user", "root", "Account=myproject")
            yield give
    finally:
        server.remove()


@pytest.fixture(scope="module")
def with_login(key: Path) -> Iterator[GivesAccess]:
    """A site `delena` with SRAM's logins: an sshd, and a slapd with the members of a collaboration."""
    pytest.importorskip("ldap3")
    server = login_node(key)
    try:
        ldap = LdapServer(password="sesame")
    except FileNotFoundError as error:
        server.remove()
        pytest.skip(str(error))
    public = key.with_name(f"{key.name}.pub").read_text()
    ldap.add_collaboration("uva", "mycrop", [Person("jdoe", keys=(public,), groups=("hpc_login",))])

    def give(home: Path) -> dict[str, str]:
        _give_key(home, key, server)
        login = {"host": "127.0.0.1", "port": server.port, "user": server.user}
        login |= {"federation": "sram", "service": "hpc", "ldap": ldap.uri}
        site = home / ".config" / "hpckit" / "sites" / "delena.yaml"
        site.parent.mkdir(parents=True)
        site.write_text(f"name: delena\nscheduler: slurm\nlogin: {json.dumps(login)}\n")
        return {"SSL_CERT_FILE": str(ldap.ca_file)}

    try:
        ldap.start()
        yield give
    finally:
        ldap.remove()
        server.remove()


@pytest.fixture(scope="module")
def with_database(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GivesAccess]:
    """A PostGIS with the results of a campaign in the schema `parcels`; libpq looks for each host there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        server = PostgresServer({"fsync": "off", "listen_addresses": "127.0.0.1", "port": str(port)})
    except FileNotFoundError as error:
        pytest.skip(str(error))
    access = {"PGHOSTADDR": "127.0.0.1", "PGPORT": str(port)}
    try:
        server.start().create_database("eo")
        connection = psycopg2.connect(server.dsn("eo"))
        with connection, connection.cursor() as cursor:
            cursor.execute("create extension postgis; create role operator login createrole; ")
            cursor.execute("grant all on database eo to operator")
        connection.close()
        folder = tmp_path_factory.mktemp("database") / "done"
        shutil.copytree(prepared / "done", folder)
        with (folder / "campaign.yaml").open("a") as file:
            file.write('store: {dsn: "postgresql://operator@db.example/eo", schema: parcels}\n')
        hpckit(folder, {**environment_of(prepared, folder), **access}, "sync", "campaign.yaml")
        yield lambda _: access
    finally:
        server.remove()


@pytest.fixture(scope="module")
def with_bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GivesAccess]:
    """An object store with a bucket `eodata`, which has a product as the Copernicus Data Space keeps them."""
    folder = tmp_path_factory.mktemp("store")
    day = folder / "eodata" / "Sentinel-2" / "MSI" / "L2A" / "2024" / "03" / "05"
    sensed = datetime(2024, 3, 5, 10, 50, 31, tzinfo=UTC)
    products.write(day, 0, products.arrays(0, 120), tile="31UFU", sensed=sensed)
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "default"}
    with serve(Bucket(folder)) as server:
        yield lambda _: {**keys, "AWS_ENDPOINT_URL": server.url}


@pytest.fixture(scope="module")
def with_images(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GivesAccess]:
    """The small campaign `$FIELDS`, with its images on a web server."""
    folder = tmp_path_factory.mktemp("images")
    shutil.copytree(prepared / "fields" / "scenes", folder / "served")
    shutil.copytree(prepared / "fields", folder / "fields")
    with serve(FileServer(folder / "served")) as server:
        for path in (folder / "fields" / "scenes").glob("*/*.json"):
            item = json.loads(path.read_text())
            for asset in item["assets"].values():
                asset["href"] = f"{server.url}/{path.parent.name}/{Path(asset['href']).name}"
            path.write_text(json.dumps(item))
        for path in (folder / "fields" / "scenes").glob("*/*.tif"):
            path.unlink()
        (folder / "fields" / "campaign.yaml").write_text(FIELDS.replace("SCENES", "scenes"))
        yield lambda _: {"FIELDS": str(folder / "fields")}


@pytest.fixture(scope="module")
def with_catalogues(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GivesAccess]:
    """The catalogues `cdse` and `earth-search` with two products, the images of the latter, and a graph on them."""
    folder = tmp_path_factory.mktemp("catalogues")
    apis = {
        "stac.dataspace.copernicus.eu": _catalogue(folder / "cdse", "data-space"),
        "earth-search.aws.element84.com": _catalogue(folder / "images", "earth-search"),
    }
    hosts: dict[str, Answer] = {host: partial(_answer_v1, StacServer(items)) for host, items in apis.items()}
    hosts[IMAGES] = FileServer(folder / "images").answer  # type: ignore[assignment] -- it sets `tag` itself
    (folder / "ndvi.json").write_text(SERVED_GRAPH)
    with catalogues.running(folder, hosts) as access:
        yield lambda _: {**access, "CATALOGUES": str(folder)}


def _catalogue(folder: Path, dialect: str) -> list[dict[str, Any]]:
    """Items whose images are at a server, and the images."""
    items = []
    for number in range(2):
        pixels = {ref: pixels_of(number)[ref] for ref in ("B04@10m", "B08@10m", "SCL@20m")}
        path = write_item(folder, pixels, dialect, sensed=SENSED + timedelta(days=5 * number))
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = f"https://{IMAGES}/{path.parent.name}/{Path(asset['href']).name}"
        items.append(item)
    return items


def _answer_v1(server: StacServer, handler: BaseHTTPRequestHandler) -> None:
    """What a STAC API below `/v1` answers."""
    server.url = f"https://{handler.headers['Host']}/v1"
    handler.path = handler.path.removeprefix("/v1") or "/"
    if urlsplit(handler.path).path.endswith("/items"):
        stac.send(handler, {"type": "FeatureCollection", "features": list(server.items), "links": []})
    else:
        server.answer(handler, handler.command)


@pytest.fixture(scope="module")
def with_systemd() -> Iterator[GivesAccess]:
    """A systemd of which the reader's home folder is root's; `systemctl` and `loginctl` of the reader work there."""
    started: list[Systemd] = []

    def give(home: Path) -> dict[str, str]:
        try:
            started.append(Systemd(home))
        except (FileNotFoundError, PermissionError) as error:
            pytest.skip(str(error))
        started[-1].start()
        for name in ("systemctl", "loginctl"):
            program = home / "programs" / name
            program.write_text(f'#!/bin/sh\nexec {shlex.join(started[-1].entering(f"/usr/bin/{name}"))} "$@"\n')
            program.chmod(0o755)
        return {"USER": "root"}

    yield give
    for each in started:
        each.stop()


@pytest.fixture(scope="module")
def with_modules() -> GivesAccess:
    """Lmod, as a login shell of a cluster has it, which looks into /opt/modulefiles."""
    start = Path("/usr/share/lmod/lmod/init/bash")
    if not start.is_file():
        pytest.skip("Lmod is not installed (Debian: lmod)")
    return lambda _: {"BASH_ENV": str(start), "MODULEPATH": "/opt/modulefiles"}


@pytest.fixture(scope="module")
def with_pbs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GivesAccess]:
    """A stand-in for OpenPBS with a queue `copyq`; jobs find the reader's programs."""
    started: list[PbsServer] = []

    def give(home: Path) -> dict[str, str]:
        queues = {"workq": {}, "copyq": {"resources_max.walltime": "24:00:00"}}
        server = PbsServer(tmp_path_factory.mktemp("pbs"), queues, ncpus=1, home=home)
        started.append(server.start())
        for name in ("qsub", "qstat"):
            (home / "programs" / name).symlink_to(server.folder / "bin" / name)
        (home / ".profile").write_text(f"export PATH={home}/programs:$PATH\n")
        return {}

    yield give
    for each in started:
        each.stop()


@pytest.fixture(scope="module")
def with_pip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GivesAccess]:
    """A `pip` for an environment of the reader: it installs a wheel of these sources; $OTHERS has what that needs."""
    folder = tmp_path_factory.mktemp("pip")
    build_wheel(folder)
    others = folder / "others"
    others.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "hpckit" not in path.name:
            (others / path.name).symlink_to(path)

    def give(home: Path) -> dict[str, str]:
        venv.create(home / "venv", with_pip=False)
        share_packages(home / "venv", others)
        pip = home / "programs" / "pip"
        pip.write_text(f'#!/bin/sh\nexec {home}/venv/bin/python -m pip "$@"\n')
        pip.chmod(0o755)
        links = f"{folder} {os.environ.get('PIP_FIND_LINKS', '')}"
        return {"PIP_FIND_LINKS": links, "PIP_NO_COMPILE": "1", "PIP_QUIET": "1", "OTHERS": str(others)}

    yield give


def share_packages(environment: Path, others: Path) -> None:
    """Let an environment have the packages of this one, but not hpckit."""
    packages = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / "others.pth").write_text(f"{others}\n")
