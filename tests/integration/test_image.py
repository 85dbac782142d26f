"""A real Apptainer: an image built as an ordinary user, tried, and a campaign on a real Slurm inside it.

It takes minutes and packages of the newest Debian: `make test-image` runs it, `make test` leaves it out.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.errors import ImageError
from hpckit.jobs import ranks
from hpckit.jobs.imagecheck import check
from hpckit.jobs.submit import submit_campaign
from hpckit.production.driver import run_campaign
from hpckit.runs.journal import read_journal
from hpckit.runs.run import find_run
from hpckit.runs.status import read_status
from hpckit.sites.image.recipe import Recipe, recipe_for
from hpckit.sites.image.sif import read_header
from hpckit.sites.places import site_files
from hpckit.sites.scheduler.local import Local
from hpckit.sites.site import Site, load_site
from hpckit.submissions.submission import Submission
from tests.doc_commands import as_written
from tests.integration.test_slurm_run import finish
from tests.servers import apptainer
from tests.servers.registry import PASSWORD, USER, Registry
from tests.servers.sshd import SshServer
from tests.small_campaign import copy, make, results, same
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.image, pytest.mark.timeout(1800)]

QUIET = Console(quiet=True)
PLACE = Path("/var/tmp/hpckit-image-test")
"""Kept: Apptainer, wheels, and the image, which is built anew only where its inputs changed."""

NOWHERE = "http://127.0.0.1:1/debian"
CANNOT_REACH = "conveyor failed to get: while debootstrapping"


@pytest.fixture(scope="session")
def program() -> Path:
    try:
        return apptainer.install(PLACE / "apptainer")
    except apptainer.MissingError as error:
        pytest.skip(f"no Apptainer here: {error}")


@pytest.fixture
def place() -> Iterator[Path]:
    """A temporary folder that all users can enter: pytest closes its own ones whenever another pytest starts."""
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PLACE, prefix="run-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def hpckit(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(PLACE / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "hpckit", "image", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


@pytest.fixture(scope="session")
def sif(program: Path) -> Path:
    """An image of this source tree; or the one that HPCKIT_TEST_IMAGE names, while tests are being written."""
    if "HPCKIT_TEST_IMAGE" in os.environ:
        return Path(os.environ["HPCKIT_TEST_IMAGE"])
    try:
        apptainer.require_mirror()
    except apptainer.MissingError as error:
        pytest.skip(f"no image can be built: {error}")
    folder = PLACE / "images"
    folder.mkdir(parents=True, exist_ok=True)
    give(folder)
    path = folder / "openmpi.sif"
    built = build(path, program)
    assert built.returncode == 0, built.stderr
    return path


def build(path: Path, program: Path) -> subprocess.CompletedProcess[str]:
    """Build an image as the documentation does, with the program of these tests; later tests try it."""
    words = here(as_written("docs/how-to/images.md", "hpckit image build"), sif=str(path))
    return hpckit(*words, "--command", str(program), "--no-test")


def here(words: list[str], **taken: str) -> list[str]:
    """Words of a command of the documentation after `hpckit image`, with what this test has in place of its names."""
    by_name = {"sif": "hpckit.sif", "uri": "oras://registry.example/eo/hpckit:0.1"}
    places = {by_name.get(name, f"{name}.sif"): place for name, place in taken.items()}
    assert words[:2] == ["hpckit", "image"] and set(places) <= set(words)
    return [places.get(word, word) for word in words[2:]]


def parse(program: Path, text: str, folder: Path) -> str:
    """What Apptainer says of a definition: it reads all of it, then its base cannot be reached."""
    (folder / "hpckit.def").write_text(text)
    words = [program, "build", "--fakeroot", "/tmp/never.sif", "hpckit.def"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, timeout=120)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize("name", sorted(site_files()))
def test_apptainer_itself_reads_the_definition_of_every_site(name: str, program: Path, place: Path) -> None:
    text = recipe_for(load_site(site_files()[name]), mirror=NOWHERE).definition()
    assert CANNOT_REACH in parse(program, text, place)


@pytest.mark.parametrize("mpi", ["openmpi", "mpich", "none"])
@pytest.mark.parametrize("cuda", [None, "12.4"])
@pytest.mark.parametrize("base", ["debian", f"docker://127.0.0.1:1/python@sha256:{'0' * 64}"])
def test_apptainer_itself_reads_the_definition_of_every_kind(mpi, cuda, base, program: Path, place: Path) -> None:
    text = Recipe(base=base, mpi=mpi, cuda=cuda, mirror=NOWHERE if base == "debian" else "").definition()
    said = parse(program, text, place)
    assert (CANNOT_REACH if base == "debian" else "connection refused") in said, said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("%runscript", "%runscirpt"), "invalid section(s) specified: runscirpt"),
        (("Bootstrap: debootstrap", "Bootstrap: yumm"), "invalid build source yumm"),
        (("OSVersion: bookworm", ""), "no osversion specified"),
        (("set -eu", "echo {{ x }}"), "build var x is not defined"),
        (("Bootstrap: debootstrap", ""), "no bootstrap specification found"),
    ],
)
def test_apptainer_itself_refuses_what_is_broken(change, says, program: Path, place: Path) -> None:
    text = Recipe(mirror=NOWHERE).definition()
    assert change[0] in text
    assert says in parse(program, text.replace(*change), place)


def give(folder: Path) -> None:
    """Let the user that runs images write there."""
    user = apptainer.ensure_user()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def test_an_image_that_was_made_of_the_same_is_kept(sif: Path, program: Path) -> None:
    before = sif.stat().st_mtime_ns
    again = build(sif, program)
    assert again.returncode == 0 and "is up to date" in again.stderr
    assert sif.stat().st_mtime_ns == before
    assert sif.stat().st_size < 450 * 2**20


def test_information(sif: Path, program: Path) -> None:
    shown = json.loads(hpckit("info", str(sif), "--json", "--command", str(program)).stdout)
    assert shown["processor"] == os.uname().machine and shown["bytes"] == sif.stat().st_size
    assert shown["labels"]["org.hpckit.mpi"] == "openmpi" and shown["signature"] == "none"


def test_a_miniature_campaign_inside(sif: Path, program: Path, tmp_path: Path) -> None:
    lab = tmp_path / "lab.yaml"
    lab.write_text(f"name: lab\nscheduler: local\ncontainer: {{binds: [{tmp_path}, /no/such]}}\n")
    words = here(as_written("docs/how-to/images.md", "hpckit image test"), sif=str(sif))
    assert words[-1] == "snellius"
    told = hpckit(*words[:-1], str(lab), "--command", str(program), "--json")
    found = {item["what"]: item for item in json.loads(told.stdout)}
    assert found["its own test"]["ok"], found["its own test"]
    assert found["writable scratch"]["ok"] and found["version of hpckit"]["ok"]
    assert found[f"bind {tmp_path}"]["ok"] and found["bind /no/such"]["ok"] is False
    assert told.returncode == 1, "a folder is missing"


@pytest.mark.parametrize(("launcher", "one_world"), [("mpirun.openmpi", True), ("mpiexec.mpich", False)])
def test_ranks_inside_make_one_world_where_the_launcher_is_of_their_mpi(
    sif: Path, program: Path, launcher: str, one_world: bool
) -> None:
    if shutil.which(launcher) is None:
        pytest.skip(f"{launcher} is not installed")
    user = ["setpriv", "--reuid", apptainer.USER, "--regid", apptainer.USER, "--clear-groups"]
    environment = {"PATH": os.environ["PATH"], "HOME": f"/home/{apptainer.USER}", "OMPI_MCA_btl": "tcp,self"}
    environment["OMPI_MCA_rmaps_base_oversubscribe"] = "1"
    words = [*user, launcher, "-n", "2", str(program), "exec", str(sif), "python", "-c", ranks.hello(Local())]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd="/tmp")
    finding = ranks.judge(done, 1)
    assert finding.ok is one_world, done.stderr
    if not one_world:
        assert "2 times rank 0 of 1" in finding.says and "same MPI on both sides" in finding.remedy


SLURM = f"""name: lab
scheduler: slurm
partitions: [{{name: short, cores: 2, memory_mib: 4000, walltime: 60min}}]
stages: {{default: {{nodes: 2, ranks: 1, memory_mib: 1500}}}}
poll: {{first_s: 1, submit_pause_s: 0, timeout_s: 60}}
directives: [--uid={apptainer.USER}]
runtime: apptainer
mpi: {{launcher: mpirun, flavour: openmpi}}
environment:
  OMPI_MCA_rmaps_base_oversubscribe: "1"
  OMPI_MCA_btl: tcp,self   # the nodes are one machine: their shared memory would be taken for common
"""


@pytest.fixture
def small(program: Path, place: Path) -> Path:
    """A real image of a few kilobytes: an empty root with one file."""
    (place / "hpckit.def").write_text("Bootstrap: scratch\n%files\n    hello /hello\n%labels\n    which small\n")
    (place / "hello").write_text("hello")
    give(place)
    words = [program, "build", "--fakeroot", "small.sif", "hpckit.def"]
    subprocess.run(words, cwd=place, check=True, capture_output=True)
    return place / "small.sif"


@pytest.fixture
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    try:
        made = Registry(closed=getattr(request, "param", False))
    except FileNotFoundError as error:
        pytest.skip(f"{error}: no registry to push to")
    with made:
        yield made


def test_an_image_goes_to_a_registry_and_comes_back_the_same(registry: Registry, small: Path, program: Path) -> None:
    uri, back = f"oras://{registry.host}/eo/small:0.1", small.with_name("back.sif")
    push = here(as_written("docs/how-to/images.md", "hpckit image push hpckit.sif oras:"), sif=str(small), uri=uri)
    pushed = hpckit(*push, "--no-https", "--command", str(program))
    assert pushed.returncode == 0, pushed.stderr
    pull = here(as_written("docs/how-to/images.md", "hpckit image pull"), sif=str(back), uri=uri)
    pulled = hpckit(*pull, "--no-https", "--command", str(program))
    assert pulled.returncode == 0, pulled.stderr
    assert back.read_bytes() == small.read_bytes()
    missing = hpckit("pull", f"{uri}.1", str(back), "--no-https", "--command", str(program))
    assert missing.returncode == 1 and "has no such image" in missing.stderr
    assert back.read_bytes() == small.read_bytes()


@pytest.mark.parametrize("registry", [True], indirect=True)
def test_a_registry_that_wants_a_password(registry: Registry, small: Path, program: Path, monkeypatch) -> None:
    uri = f"oras://{registry.host}/eo/small:0.1"
    refused = hpckit("push", str(small), uri, "--no-https", "--command", str(program))
    assert refused.returncode == 1 and "does not let you" in refused.stderr and "registry login" in refused.stderr
    monkeypatch.setenv("APPTAINER_DOCKER_USERNAME", USER)
    monkeypatch.setenv("APPTAINER_DOCKER_PASSWORD", "wrong")
    refused = hpckit("push", str(small), uri, "--no-https", "--command", str(program))
    assert refused.returncode == 1 and "does not let you" in refused.stderr
    monkeypatch.delenv("APPTAINER_DOCKER_USERNAME")
    monkeypatch.delenv("APPTAINER_DOCKER_PASSWORD")
    there = f"oras://{registry.host}"
    words = as_written("docs/how-to/images.md", "apptainer registry login")
    places = {"apptainer": str(program), "NAME": USER, "oras://registry.example": there}
    assert places.keys() <= set(words)
    log_in([places.get(word, word) for word in words])
    try:
        accepted = hpckit("push", str(small), uri, "--no-https", "--command", str(program))
        assert accepted.returncode == 0, accepted.stderr
    finally:
        subprocess.run([program, "registry", "logout", there], check=True, capture_output=True)


def log_in(words: list[str]) -> None:
    """Run a command that asks for the password at a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as asking:
        os.close(theirs)
        said = b""
        while b"assword" not in said:
            said += os.read(ours, 1024)
        os.write(ours, f"{PASSWORD}\n".encode())
        with suppress(OSError):  # its end of the terminal is closed
            while block := os.read(ours, 1024):
                said += block
        os.close(ours)
    assert asking.returncode == 0, said.decode()


def test_a_registry_that_is_not_there(small: Path, program: Path) -> None:
    gone = hpckit("push", str(small), "oras://127.0.0.1:1/eo/small:0.1", "--command", str(program))
    assert gone.returncode == 1 and "127.0.0.1:1 does not answer" in gone.stderr
    back = small.with_name("back.sif")
    gone = hpckit("pull", "oras://127.0.0.1:1/eo/small:0.1", str(back), "--command", str(program))
    assert gone.returncode == 1 and "does not answer" in gone.stderr and not back.exists()
    other = hpckit("push", str(small), "docker://127.0.0.1:1/eo/small", "--command", str(program))
    assert other.returncode == 1 and "write oras://" in other.stderr


def test_an_image_goes_to_a_cluster_by_ssh(small: Path, home: Path, tmp_path: Path, monkeypatch) -> None:
    try:
        server = SshServer(keys=[(home / ".ssh" / "id_ed25519.pub").read_text()])
    except (FileNotFoundError, PermissionError) as error:
        pytest.skip(str(error))
    (home / ".ssh" / "known_hosts").write_text(server.known_hosts)
    login = {"host": "127.0.0.1", "port": server.port, "user": server.user}
    (tmp_path / "snellius.yaml").write_text(json.dumps({"name": "snellius", "scheduler": "slurm", "login": login}))
    monkeypatch.setenv("HPCKIT_SITES", str(tmp_path))
    (server.home / "eo").mkdir()
    words = here(as_written("docs/how-to/images.md", "hpckit image push hpckit.sif snellius:"), sif=str(small))
    words[-1] = words[-1].replace("/projects", str(server.home))
    try:
        server.start()
        pushed = hpckit(*words)
    finally:
        server.stop()
    there = server.home / "eo" / "hpckit.sif"
    assert pushed.returncode == 0 and there.read_bytes() == small.read_bytes(), pushed.stderr
    server.remove()


def test_images_are_compared_by_what_is_in_them(small: Path, program: Path) -> None:
    same = hpckit("compare", str(small), str(small))
    assert same.returncode == 0 and "to the byte" in same.stdout
    folder, other = small.parent, small.with_name("other.sif")
    (folder / "hello").write_text("good day")
    text = (folder / "hpckit.def").read_text().replace("which small", "which other")
    (folder / "hpckit.def").write_text(text)
    words = [program, "build", "--fakeroot", "other.sif", "hpckit.def"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    told = hpckit("compare", str(small), str(other), "--json")
    found = json.loads(told.stdout)
    assert told.returncode == 1 and not found["same"] and not found["same_definition"]
    assert found["causes"]["not explained"] == [{"path": "hello", "kind": "content"}]
    assert "label which: small -> other" in found["values"]
    compare = as_written("docs/how-to/images.md", "hpckit image compare")
    assert "hello (content)" in hpckit(*here(compare, monday=str(small), tuesday=str(other))).stdout
    assert hpckit("compare", str(small), str(folder / "hello")).returncode == 1


@pytest.fixture
def for_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root submits for the ordinary user that runs images: the job writes to a folder of that user."""
    shared = ranks._shared_folder

    @contextmanager
    def theirs(beside: Path) -> Iterator[Path]:
        with shared(beside) as folder:
            give(folder)
            yield folder

    monkeypatch.setattr(ranks, "_shared_folder", theirs)


def try_ranks(sif: Path, lab: Path, program: Path, **wishes: float):
    found = check(sif, load_site(lab), command=str(program), with_test=False, **wishes)
    return next(item for item in found if item.what == "2 ranks")


@pytest.mark.usefixtures("for_the_user")
def test_two_ranks_meet_across_nodes_in_a_job_of_their_own(sif: Path, program: Path, slurm, tmp_path: Path) -> None:
    lab = tmp_path / "lab.yaml"
    lab.write_text(f"{SLURM}container: {{image: /elsewhere.sif, command: {program}}}\n")
    before = set(sif.parent.iterdir())
    found = try_ranks(sif, lab, program)
    assert found.ok is True, found
    assert re.fullmatch(r"one world of 2 on n\d, n\d; Open MPI v.*", found.says)
    assert set(sif.parent.iterdir()) == before


@pytest.mark.usefixtures("for_the_user")
def test_a_job_of_ranks_that_cannot_work_is_explained(sif: Path, program: Path, slurm, tmp_path: Path) -> None:
    lab = tmp_path / "lab.yaml"
    text = f"{SLURM}container: {{image: /elsewhere.sif, command: {program}, binds: [/no/such]}}\n"
    lab.write_text(text)
    found = try_ranks(sif, lab, program)
    assert found.ok is False and "/no/such should be visible inside the image" in found.says
    lab.write_text(text.replace("name: short", "name: shortt"))
    found = try_ranks(sif, lab, program)
    assert found.ok is False and "Invalid partition" in found.says and "sinfo" in found.remedy
    # Jobs of another user are not ours to cancel; those of our own are.
    for node in slurm.nodes:
        slurm.drain(node)
    try:
        lab.write_text(text)
        found = try_ranks(sif, lab, program, wait_s=3)
        assert found.ok is None and "is pending" in found.says and "was not cancelled" in found.says
        (other,) = slurm.run("squeue", "-h", "-o", "%F").stdout.split()
        slurm.run("scancel", other)
        lab.write_text(text.replace(f"directives: [--uid={apptainer.USER}]\n", ""))
        found = try_ranks(sif, lab, program, wait_s=3)
        assert found.ok is None and "is pending" in found.says and "it was cancelled" in found.says
        limit = time.monotonic() + 20
        while slurm.run("squeue", "-h").stdout.strip():
            assert time.monotonic() < limit, "the job is not cancelled"
            time.sleep(0.5)
    finally:
        for node in slurm.nodes:
            slurm.resume(node)


EXCHANGE = """
from mpi4py import MPI
import numpy as np
world = MPI.COMM_WORLD
found = np.zeros(2**22, np.uint8)
world.Sendrecv(np.full(2**22, world.rank + 1, np.uint8), 1 - world.rank, recvbuf=found)
print("got", set(found.tolist()), "from", 1 - world.rank, flush=True)
"""


def test_ranks_of_one_node_exchange_large_messages_through_its_memory(sif: Path, program: Path) -> None:
    if shutil.which("mpirun.openmpi") is None:
        pytest.skip("mpirun.openmpi is not installed")
    user = ["setpriv", "--reuid", apptainer.USER, "--regid", apptainer.USER, "--clear-groups"]
    environment = {"PATH": os.environ["PATH"], "HOME": f"/home/{apptainer.USER}", "OMPI_MCA_btl": "vader,self"}
    environment |= {"OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}
    # mpirun's own timeout ends its ranks, too.
    words = [*user, "mpirun.openmpi", "--timeout", "60", "-n", "2", str(program), "exec", str(sif)]
    words += ["python", "-c", EXCHANGE]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd="/tmp")
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"^got .*", done.stdout, re.M)) == ["got {1} from 0", "got {2} from 1"]


@pytest.mark.parametrize("kind", ["cut", "scrambled"])
def test_a_damaged_image_is_said_to_be_one(sif: Path, program: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.sif"
    with sif.open("rb") as file:
        head = file.read(2**20)
    path.write_bytes(head if kind == "cut" else b"\0" * 2**20)
    with pytest.raises(ImageError, match="truncated: it has" if kind == "cut" else "no SIF file"):
        read_header(path)
    assert hpckit("test", str(path), "--command", str(program)).returncode == 1


def work_through(campaign: Campaign, site: Site, slurm) -> tuple[Submission, str]:
    """Run a campaign on Slurm, whose jobs may write as the user that runs images; what they said."""
    for node in slurm.nodes:
        slurm.drain(node)
    submission = submit_campaign(campaign, site, QUIET)
    assert submission is not None
    give(campaign.folder)
    for node in slurm.nodes:
        slurm.resume(node)
    finish(submission, 400)
    logs = "\n".join(path.read_text() for path in sorted((submission.path / "logs").glob("*.out")))
    assert read_status(find_run(campaign.run_dir)).failures == {}, logs
    return submission, logs


def test_a_campaign_on_slurm_inside_the_image_gives_the_results_of_outside(
    sif: Path, program: Path, slurm, place: Path
) -> None:
    made = place / "made"
    made.mkdir()
    make(made)
    outside = load_campaign(copy(made, place / "outside"))
    assert run_campaign(outside, QUIET, workers=2).exit_code == 0
    inside = load_campaign(copy(made, place / "in side: a, b"))
    lab = place / "lab.yaml"
    lab.write_text(f"{SLURM}container: {{image: {sif}, command: {program}}}\n")
    site = load_site(lab)
    _, logs = work_through(inside, site, slurm)
    same(results(inside), results(outside))
    hosts = {entry.writer for entry in read_journal(inside.run_dir)}
    assert len(hosts) > 1 and "exit code 0" in logs, logs

    # What it made is served from inside, too, by the command of the documentation.
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = {"listen": address, "state": "/data/state", "datasets": [{"campaign": "in side: a, b/campaign.yaml"}]}
    (place / "serve.yaml").write_text(json.dumps(settings))
    give(place)
    words = as_written("docs/how-to/serve.md", "apptainer exec")
    places = {"apptainer": str(program), "/data": f"{place}:/data", "hpckit.sif": str(sif)}
    with (place / "serve.log").open("wb") as log:
        serving = subprocess.Popen([places.get(word, word) for word in words], stdout=log, stderr=log, cwd=place)
    try:
        until(lambda: b"http://" in (place / "serve.log").read_bytes(), 120, "for the server in the image")
        assert httpx.get(f"http://{address}/health").status_code == 200
    finally:
        serving.terminate()
        serving.wait(timeout=60)
