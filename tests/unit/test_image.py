"""Definition files, their linter, heads of images, tools, and the words by which jobs enter an image."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hpckit.base.console import Console
from hpckit.cli.image import image
from hpckit.errors import ImageError, SiteError
from hpckit.jobs.ranks import judge
from hpckit.sites.image import build as building
from hpckit.sites.image.lint import lint
from hpckit.sites.image.recipe import Recipe, apt_mirror, recipe_for
from hpckit.sites.image.sif import read_header, require_usable
from hpckit.sites.image.tools import Tool, command_of, require_tools
from hpckit.sites.jobscript.container import expandable
from hpckit.sites.jobscript.script import render
from hpckit.sites.places import site_files
from hpckit.sites.scheduler.model import Job, Resources
from hpckit.sites.site import Site, load_site

ROOT = Path(__file__).parents[2]
MIRROR = "http://mirror.example/debian"
PINNED = "docker://python@sha256:" + "0" * 64


@pytest.mark.parametrize("name", sorted(site_files()))
def test_the_image_of_every_site_is_described_soundly(name):
    site = load_site(site_files()[name])
    text = recipe_for(site, mirror=MIRROR).definition()
    assert lint(text) == []
    assert f"org.hpckit.site {name}" in text


@pytest.mark.parametrize("mpi", ["openmpi", "mpich", "none"])
@pytest.mark.parametrize("base", ["debian", PINNED])
@pytest.mark.parametrize("cuda", [None, "12.4"])
def test_shell_parts_are_sound(mpi, base, cuda, tmp_path):
    text = Recipe(base=base, mpi=mpi, cuda=cuda, mirror=MIRROR if base == "debian" else "").definition()
    assert lint(text) == []
    assert text.count("Bootstrap:") == 2
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    for number, part in enumerate(re.split(r"^%(?=post|environment|runscript|test|apprun)", text, flags=re.M)[1:]):
        body = re.split(r"^[%B]", part.partition("\n")[2], flags=re.M)[0]
        path = tmp_path / f"{number}.sh"
        path.write_text("#!/bin/sh\n" + body)
        subprocess.run(["shellcheck", "-S", "warning", path], check=True)


def test_the_lock_files_hold_what_hpckit_needs_with_hashes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(one for extra in ("mpi", "remote", "serve") for one in project["optional-dependencies"][extra]),
    ]
    names = {re.match(r"[A-Za-z0-9.-]+", text)[0].lower().replace("_", "-").replace(".", "-") for text in wanted}
    for path in (ROOT / "containers").glob("*.lock"):
        text = path.read_text()
        held = re.findall(r"^([a-z0-9.-]+)==\S+(.*?)(?=^\S|\Z)", text, flags=re.M | re.S)
        assert names <= {name.replace(".", "-") for name, _ in held}
        assert all("--hash=sha256:" in rest for _, rest in held)
        assert "://" not in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("MirrorURL:", "Mirror:"), "needs MirrorURL"),
        (("Stage: build", "Stage: other"), "no stage 'build'"),
        (("Stage: final", "Stage: build"), "need a Stage: name each"),
        (("%runscript", "%runscirpt"), "unknown section %runscirpt"),
        (("%help", "%setup"), "runs on the host"),
        (("--require-hashes -r", "-r"), None),
        (("--quiet --no-index --find-links /opt/build/wheels", ""), None),
        (("    org.hpckit.mpi", "    org.hpckit.pmi"), "no label org.hpckit.mpi"),
        (("set -eu", "curl example.org | sh"), "nothing pins"),
        (("/etc/machine-id", "/tmp/*"), "removes files of the host"),
        (("Bootstrap: debootstrap", "Bootstrap: yumm"), "unknown bootstrap agent"),
    ],
)
def test_the_linter_finds(change, says):
    text = Recipe(mirror=MIRROR).definition()
    assert change[0] in text
    faults = [fault.text for fault in lint(text.replace(*change))]
    assert (says is None) == (not faults) and (says is None or any(says in fault for fault in faults)), faults


def test_the_linter_wants_pins():
    text = Recipe(base="docker://python:3.11-slim-bookworm").definition()
    assert {fault.text for fault in lint(text)} == {
        "base python:3.11-slim-bookworm is not pinned: write NAME@sha256:…"
    }
    bare = Recipe(mirror=MIRROR).definition().replace("--no-deps --no-compile --require-hashes", "")
    assert lint(bare.replace("--no-index --find-links", "--find-links"))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"base": "oci://x"}, "of no known kind"),
        ({"base": "/no/such.sif"}, "no such base image"),
        ({"base": "docker://a b"}, "cannot stand in a definition file"),
        ({"cuda": "9.1", "mirror": MIRROR}, "no lock file for CUDA 9.1"),
        ({"mirror": "http://x/$(rm)"}, "cannot stand"),
    ],
)
def test_recipes_that_cannot_be(values, says):
    with pytest.raises(ImageError, match=re.escape(says)):
        recipe_for(None, **values).definition()


def test_the_mirror_is_that_of_this_machine(tmp_path):
    assert apt_mirror(tmp_path) == ""
    with pytest.raises(ImageError, match="needs a mirror"):
        Recipe().definition()
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "x.sources").write_text(f"Types: deb\nURIs: {MIRROR}\nSuites: bookworm\n")
    assert apt_mirror(tmp_path) == MIRROR
    (tmp_path / "sources.list").write_text("# c\ndeb [arch=amd64] https://other.example/debian bookworm main\n")
    assert apt_mirror(tmp_path) == "https://other.example/debian"


def sif(processor: bytes = b"02\0", magic: bytes = b"SIF_MAGIC\0", length: int = 8) -> bytes:
    head = struct.pack(
        "<32s10s3s3s16sqqqqqqqq", b"#!x", magic, b"01\0", processor, b"", 0, 0, 0, 0, 0, 0, 128, length
    )
    return head.ljust(136, b"\0")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no SIF file"),
        (b"#!/bin/sh\n" * 100, "no SIF file"),
        (sif(magic=b"SIF_MAGIX\0"), "no SIF file"),
        (sif(length=9), "truncated: it has 136 bytes of 137"),
        (sif(b"04\0"), "built for aarch64"),
    ],
)
def test_images_that_cannot_run_here(data, says, tmp_path):
    path = tmp_path / "x.sif"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=says):
        require_usable(path)
    with pytest.raises(ImageError, match="cannot be read"):
        read_header(tmp_path / "none.sif")


def fake(folder: Path, name: str, text: str) -> Path:
    """A program that says what it is told to: for refusals that a real one cannot be made to give."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_tools_that_are_missing_or_old(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="apptainer is not found"):
        command_of()
    old = fake(tmp_path, "singularity", "echo singularity-ce version 3.8.4")
    with pytest.raises(ImageError, match=r"singularity 3.8, which is too old: 3.10"):
        command_of()
    fake(tmp_path, "apptainer", "echo apptainer version 1.4.5-1.el9")
    assert command_of()[1:] == ("apptainer", (1, 4))
    old.write_text("#!/bin/sh\necho something else")
    with pytest.raises(ImageError, match="neither"):
        command_of("singularity")
    tools = [Tool("subuid", False, "no line for ada", "ask"), Tool("squashfuse", False, "none", "x", needed=False)]
    with pytest.raises(ImageError, match="subuid: no line for ada") as caught:
        require_tools(tools)
    assert caught.value.hint == "ask"
    require_tools(tools[1:])


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        ("FATAL: write /tmp/x: no space left on device", "the disk is full"),
        ("FATAL: newgidmap execution failed", "user ids cannot be mapped"),
        ("FATAL: While performing build: while running %post section: exit status 1", "a step of %post failed"),
    ],
)
def test_a_build_that_fails_leaves_no_image(says, sentence, tmp_path, monkeypatch):
    text = (
        f'case "$1" in --version) echo apptainer version 1.4.5;; *) echo half > "$4"; echo "{says}"; exit 255;; esac'
    )
    command = str(fake(tmp_path, "apptainer", text))
    monkeypatch.setattr(building, "look_for_tools", lambda *_, **__: [])
    monkeypatch.setattr(building, "write_context", lambda recipe, folder, console: folder.mkdir(parents=True) or "d")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    target = tmp_path / "images" / "x.sif"
    with pytest.raises(ImageError, match=sentence) as caught:
        building.build(Recipe(mirror=MIRROR), target, Console(quiet=True), command=command)
    assert str(target.with_suffix(".build.log")) in str(caught.value.hint)
    assert [path.name for path in target.parent.iterdir()] == ["x.build.log"]


def test_greetings_of_ranks():
    def done(*lines: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], code, "\n".join(lines), "no such launcher\n")

    assert judge(done("hello 0 2 n1 Open_MPI_v4.1.4", "hello 1 2 n2 Open_MPI_v4.1.4"), 2).ok
    together = judge(done("hello 0 2 n1 Open_MPI_v4.1.4", "hello 1 2 n1 Open_MPI_v4.1.4"), 2)
    assert together.ok is None and "not across nodes" in together.says
    alone = judge(done("hello 0 1 n1 MPICH", "hello 0 1 n2 MPICH"), 2)
    assert alone.ok is False and "2 times rank 0 of 1" in alone.says and alone.remedy
    assert judge(done(code=127), 2).says == "no such launcher"


class TestJobs:
    @pytest.mark.slow
    @given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r$"), min_size=1, max_size=20))
    def test_text_reaches_bash_as_it_is_and_variables_expand(self, text):
        word = expandable(f"$A/{text}/${{B}}$(x)")
        environment = {**os.environ, "A": "a b", "B": "*"}
        done = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True, env=environment)
        assert done.stdout.decode() == f"a b/{text}/*$(x)"

    def script(self, folder: Path, *, gpus: int = 0, **container: object) -> str:
        site = Site.model_validate(
            {
                "name": "lab",
                "scheduler": "local",
                "runtime": "apptainer",
                "environment": {"SITE_SAYS": "it's so"},
                "container": {"image": "$IMAGE", "command": str(folder / "apptainer"), **container},
            }
        )
        job = Job("n", "ingest", folder / "i.sh", folder, Resources(gpus=gpus), count=1)
        return render(job, site, run=folder, submission=1, command=["hpckit"], binds=[folder])

    def run(self, text: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        for part in ("-S", "warning"), ():
            if part and shutil.which("shellcheck"):
                (folder / "i.sh").write_text(text)
                subprocess.run(["shellcheck", *part, folder / "i.sh"], check=True)
        inner = {"PATH": os.environ["PATH"], "IMAGE": str(folder / "x.sif"), "SECRET": "no", **environment}
        return subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False, env=inner)

    def test_a_job_enters_the_image_with_what_it_needs_and_nothing_else(self, tmp_path):
        folder = tmp_path / """it's, a: "b" """
        folder.mkdir()
        (folder / "x.sif").touch()
        code = "import os, sys, json; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
        fake(folder, "apptainer", f'exec {shlex.quote(sys.executable)} -c "{code}" "$@"')
        text = self.script(folder, gpus=1, binds=["/usr:/opt/x y:ro"], options=["--no-home"])
        done = self.run(text, folder, OMPI_COMM_WORLD_RANK="3", TMPDIR=str(folder))
        assert done.returncode == 0, done.stderr
        words, environment = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("[[")))
        assert words[:5] == ["exec", "--no-eval", "--nv", "--cleanenv", "--no-home"]
        escaped = str(folder).replace('"', '""')
        mounts = [words[place + 1] for place, word in enumerate(words) if word == "--mount"]
        assert mounts[:2] == [
            'type=bind,"source=/usr","destination=/opt/x y",ro',
            f'type=bind,"source={escaped}","destination={escaped}"',
        ]
        assert (
            words[-10:-6] == [str(folder / "x.sif"), "hpckit", "worker", str(folder)]
            or str(folder / "x.sif") in words
        )
        passed = {name.removeprefix("APPTAINERENV_") for name in environment if name.startswith("APPTAINERENV_")}
        assert {"OMPI_COMM_WORLD_RANK", "SITE_SAYS", "OMP_NUM_THREADS", "HPCKIT_DEADLINE", "TMPDIR"} <= passed
        assert "SECRET" not in passed

    def test_what_is_missing_on_a_node_is_said(self, tmp_path):
        fake(tmp_path, "apptainer", "echo entered")
        gone = self.run(self.script(tmp_path, binds=["/no/such folder"]), tmp_path)
        assert gone.returncode == 1
        assert "/no/such folder should be visible inside the image, but does not exist on" in gone.stderr
        no_image = self.run(self.script(tmp_path), tmp_path)
        assert no_image.returncode == 1 and "x.sif is not on" in no_image.stderr
        assert "entered" not in gone.stdout + no_image.stdout

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("runtime: apptainer\n", "needs container.image"),
            ("runtime: module\n", "needs `modules`"),
            ("runtime: apptainer\ncontainer: {image: x.sif, mpi: bind}\n", "needs container.mpi_folder"),
            ("container: {imagee: x.sif}\n", "did you mean 'image'"),
        ],
    )
    def test_site_files_that_make_no_sense(self, text, says, tmp_path):
        path = tmp_path / "x.yaml"
        path.write_text(f"name: x\nscheduler: slurm\n{text}")
        with pytest.raises(SiteError, match=re.escape(says)):
            load_site(path)


def test_commands(tmp_path):
    runner = CliRunner()
    written = runner.invoke(image, ["def", "--mirror", MIRROR, "--mpi", "mpich", "-o", str(tmp_path / "i")])
    assert written.exit_code == 0 and {path.name for path in (tmp_path / "i").iterdir()} == {
        "hpckit.def",
        "requirements.lock",
    }
    assert "mpich" in (tmp_path / "i" / "hpckit.def").read_text()
    (tmp_path / "x.sif").write_bytes(sif())
    assert runner.invoke(image, ["push", str(tmp_path / "x.sif"), "nowhere"]).exit_code == 2
