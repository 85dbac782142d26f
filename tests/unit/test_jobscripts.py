"""Job scripts as shells run them: what a site, conda or modules do, old shells, nodes that lack something."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpckit.sites.jobscript.script import render
from hpckit.sites.places import templates_folder
from hpckit.sites.scheduler.model import Job, Resources
from hpckit.sites.site import Site

SHELLS = ["bash", *filter(None, os.environ.get("HPCKIT_OLD_BASH", "").split(":"))]
"""The shell of this machine; HPCKIT_OLD_BASH names others, bash 4.2 of EL7 and 4.3 of SLES 12."""
SCHEDULERS = ("slurm", "pbs", "local")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Stands where hpckit is: prints its words, one a line, and its environment of threads."""
    path = tmp_path / "my hpckit"
    path.write_text('#!/bin/bash\nprintf "word %s\\n" "$@"\necho "threads $OMP_NUM_THREADS in $PWD as $EO"\n')
    path.chmod(0o755)
    return path


NO_MODULES = pytest.mark.skipif(
    any(Path("/etc/profile.d").glob("*mod*.sh")), reason="this machine has environment modules"
)


class Node:
    """A node: runs the script of a job, in an environment of its own."""

    def __init__(self, tmp_path: Path, program: Path) -> None:
        self.tmp_path, self.program = tmp_path, program
        self.run_dir = tmp_path / 'a "run" of 5%'
        self.run_dir.mkdir()

    def run(
        self, scheduler: str = "slurm", stage: str = "ingest", shell: str = "bash", *, there: bool = True, **site
    ) -> subprocess.CompletedProcess[str]:
        resources = Resources(cores=2, walltime_s=3600)
        job = Job("hp-x-1", stage, self.tmp_path / "job.sh", Path("/run/logs"), resources, first=3)
        described = Site.model_validate({"name": "s", "scheduler": scheduler, **site})
        if described.mpi.launcher != "none":
            job = replace(job, resources=replace(resources, ranks=2))
        text = render(
            job, described, run=self.run_dir, submission=1, command=[str(self.program)], binds=[self.tmp_path]
        )
        job.script.write_text(text)
        if not there:
            self.run_dir.rmdir()
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.tmp_path), "SLURM_ARRAY_TASK_ID": "4"}
        environment |= {"PBS_ARRAY_INDEX": "4", "HPCKIT_INDEX": "4", "LMOD_PKG": "/none", "MODULESHOME": "/none"}
        environment |= {"SLURM_SUBMIT_DIR": "/gone", "PBS_O_WORKDIR": "/gone"}
        command = [shell, str(job.script)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, cwd=self.tmp_path, timeout=60, check=False
        )


@pytest.fixture
def node(tmp_path: Path, program: Path) -> Node:
    return Node(tmp_path, program)


def script(node: Node, name: str, text: str) -> str:
    (node.tmp_path / name).write_text(text)
    return f'source "{node.tmp_path / name}"'


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("stage", ["ingest", "gate", "sync"])
@pytest.mark.parametrize(
    "site",
    [
        {},
        {"setup": "export EO=1"},
        {"mpi": {"launcher": "mpirun"}, "environment": {"PATH": "{tmp}/launchers:/usr/bin:/bin"}},
        {
            "runtime": "apptainer",
            "container": {"image": "{tmp}/i.sif", "command": "{tmp}/launchers/enter", "cleanenv": False},
        },
    ],
    ids=["plain", "setup", "mpi", "image"],
)
def test_every_script_runs_in_old_and_new_shells(node, shell, scheduler, stage, site):
    launchers = node.tmp_path / "launchers"
    launchers.mkdir()
    (launchers / "mpirun").write_text('#!/bin/bash\nexec "${@:3}"\n')
    skip = 'while [ "$1" != "${0%/*/*}/i.sif" ]; do shift; done; shift'
    (launchers / "enter").write_text(f'#!/bin/bash\n{skip}\nexec "$@"\n')
    (node.tmp_path / "i.sif").touch()
    for path in launchers.iterdir():
        path.chmod(0o755)
    filled = eval(repr(site).replace("{tmp}", str(node.tmp_path)))
    done = node.run(scheduler, stage, shell, **filled)
    assert done.returncode == 0, done.stderr
    words = [line.partition(" ")[2] for line in done.stdout.splitlines() if line.startswith("word ")]
    assert words[:2] == ["worker" if stage == "ingest" else stage, str(node.run_dir)]
    if stage == "ingest":
        assert words[words.index("--element") + 1] == "7", "the first of this array is 3, and this is index 4 of it"
        assert "threads 2" in done.stdout
    assert "unbound" not in done.stderr


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "text",
    [
        # As conda-forge's packages and Lmod have it: variables that are not set.
        'if [[ -n "$GDAL_DATA" ]]; then export _CONDA_SET_GDAL_DATA=$GDAL_DATA; fi\nexport EO=1\n',
        "export MANPATH=/opt/man:$MANPATH EO=1\n",
        'for item in "${NONE[@]}"; do echo "$item"; done\nexport EO=1\n',
        # What a script does inside is its own affair, as long as it ends well.
        "grep -q nothing /dev/null\n[ -d /none ] && cd /none\nfalse\nexport EO=1\n",
        "set -euo pipefail\nexport EO=1\n",
        "set -euE\nexport EO=1\n",
        "IFS=:\nrun=/none index=99 launch=x work=y code=3\nexport EO=1\n",
    ],
)
def test_what_setup_reads_may_be_written_as_people_write(node, shell, text):
    done = node.run(shell=shell, setup=script(node, "activate", text))
    assert done.returncode == 0 and "as 1" in done.stdout, done.stderr
    assert "word --element\nword 7\n" in done.stdout


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("source /none/bin/activate\nexport EO=1", "`source /none/bin/activate` in `setup` of the site file failed"),
        ("conda activate eo", "`conda activate eo` in `setup` of the site file failed"),
        ("false\ntrue", "`false` in `setup` of the site file failed"),
        pytest.param(
            "module load Python", "`module load Python` in `setup` of the site file failed", marks=NO_MODULES
        ),
        ("f() { return 4; }\nf", "`return 4` in `setup` of the site file failed"),
        ("exit 0", "ended the job on"),
        ("exit 3", "ended the job on"),
        ("{stops}", "ended the job on"),
    ],
)
def test_a_line_of_setup_that_fails_ends_the_element(node, shell, lines, says):
    done = node.run(shell=shell, setup=lines.replace("{stops}", script(node, "stops", "set -e\nfalse\n")))
    assert done.returncode == 1 and says in done.stderr and "no unit was begun" in done.stderr, done.stderr
    assert "word" not in done.stdout


def test_a_line_that_may_fail_says_so(node):
    lines = "grep -q x /dev/null || true\nif ! [ -d /none ]; then export EO=1; fi\ntrap 'echo tidied' EXIT\n"
    done = node.run(setup=lines)
    assert done.returncode == 0 and "as 1" in done.stdout and "tidied" in done.stdout, "a trap of one's own is kept"


MODULES = """module() {{
    if [ "$2" = there/1.2 ]; then {loads}; else echo "Unable to locate a modulefile for '$2'" >&2; {fails}; fi
}}
"""
KINDS = {
    "Lmod": ("export LMOD_CMD=/x; EO=lmod; export EO", "return 1"),
    "Modules 3": ("export LOADEDMODULES=there/1.2 EO=old", "return 0"),
    "unlisted": ("unset LOADEDMODULES; export EO=own", "return 1"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["there/1.2", "missing/3", "it's missing"])
def test_modules_of_all_kinds(node, kind, name):
    loads, fails = KINDS[kind]
    folder = node.tmp_path / "init"
    folder.mkdir()
    (folder / "bash").write_text(MODULES.format(loads=loads, fails=fails) + "export LOADEDMODULES=\n")
    done = node.run(environment={"MODULESHOME": str(node.tmp_path)}, modules=[name])
    if name == "there/1.2":
        assert done.returncode == 0 and "word worker" in done.stdout, done.stderr
        return
    assert done.returncode == 1 and "word" not in done.stdout
    assert f"`module load {name}` failed on" in done.stderr and "see `modules` of the site file" in done.stderr


@NO_MODULES
def test_modules_where_there_are_none(node):
    done = node.run(modules=["2024"])
    assert done.returncode == 1 and "`module` is not defined on" in done.stderr and "word" not in done.stdout


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_submit_folder_that_nodes_lack_is_no_fault_and_a_run_directory_is(node, scheduler):
    done = node.run(scheduler)
    assert done.returncode == 0, done.stderr
    gone = node.run(scheduler, there=False)
    assert gone.returncode == 1 and "must lie on a file system that all nodes see" in gone.stderr


def test_a_program_that_nodes_lack_is_named(node):
    node.program.unlink()
    done = node.run()
    assert done.returncode == 127 and f"{node.program} cannot be started on" in done.stderr
    done = node.run(mpi={"launcher": "mpiexec"}, environment={"PATH": "/none:/usr/bin/nothing"})
    assert done.returncode == 127 and "mpiexec cannot be started" in done.stderr.replace("/usr/bin/", "")


def test_arrays_that_may_be_empty_are_guarded_and_nothing_asks_for_set_variables():
    sure = {"work", "hpckit", "enter"}
    for path in templates_folder().glob("*.j2"):
        text = path.read_text()
        assert not re.search(r"set -\w*[ue]|nounset", text), path
        naked = re.findall(r'(?<!\+)"\$\{(\w+)\[@\]\}"', text)
        assert set(naked) <= sure, f"{path}: empty under `set -u`, these end a shell before bash 4.4"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_scripts_with_all_that_a_site_can_have_pass_shellcheck(tmp_path):
    site = Site.model_validate(
        {
            "name": "s", "scheduler": "slurm", "modules": ["a", "b"], "setup": "export A=1\ntrue",
            "runtime": "apptainer", "container": {"image": "/i.sif", "binds": ["/a:/b:ro"]},
        }
    )  # fmt: skip
    job = Job("n", "ingest", tmp_path / "x.sh", tmp_path, Resources())
    job.script.write_text(render(job, site, run=tmp_path, submission=1, command=["hpckit"]))
    subprocess.run(["shellcheck", "-S", "warning", job.script], check=True)
