"""The PBS stand-in against what OpenPBS 23.06.06 was seen to do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.pbs import PbsServer

pytestmark = pytest.mark.slow

RECORDED = Path(__file__).parents[1] / "recorded" / "openpbs-23.06"
QUEUES = {
    "workq": {},
    "short": {"resources_max.walltime": "00:10:00", "resources_max.ncpus": 4, "resources_max.mem": "4gb"},
    "few": {"max_array_size": 10, "resources_default.walltime": "00:05:00"},
    "closed": {"enabled": "False"},
    "paused": {"started": "False"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PbsServer]:
    folder = tmp_path_factory.mktemp("pbs")
    (folder / "home").mkdir()
    # No login profile of the machine's user, and deaths without long waits.
    with PbsServer(folder / "server", QUEUES, home=folder / "home", kill_delay_s=1) as running:
        yield running


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.fixture
def submit(server: PbsServer, work: Path) -> Callable[..., str]:
    def _submit(*words: str, script: str = "true\n") -> str:
        if "--" in words:
            return server.run("qsub", *words, cwd=work).stdout.strip()
        (work / "job.sh").write_text("#!/bin/bash\n" + script)
        return server.run("qsub", *words, "job.sh", cwd=work).stdout.strip()

    return _submit


def element(job: str, index: int) -> str:
    return job.replace("[]", f"[{index}]")


def wait_for_state(server: PbsServer, job: str, state: str) -> None:
    limit = time.monotonic() + 20
    while server.attributes(job)[job]["job_state"] != state:
        assert time.monotonic() < limit, f"{job} never was {state}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Not gone, and no zombie that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# What qsub refuses.

REFUSED = [
    (["-q", "nowhere"], 170, "qsub: Unknown queue"),
    (["-l", "bogus=1"], 187, "qsub: Unknown resource Resource_List.bogus"),
    (["-l", "walltime=soon"], 166, "qsub: Illegal attribute or resource value Resource_List.walltime"),
    (["-l", "select=1:ncpus=two"], 166, "qsub: Illegal attribute or resource value Resource_List.ncpus"),
    (["-q", "short", "-l", "walltime=11:00"], 188, "qsub: Job violates queue and/or server resource limits"),
    (["-q", "short", "-l", "select=2:ncpus=4"], 188, "qsub: Job violates queue and/or server resource limits"),
    (["-q", "short", "-l", "select=1:mem=5gb"], 188, "qsub: Job violates queue and/or server resource limits"),
    (["-q", "closed"], 173, "qsub: Queue is not enabled"),
    (["-J", "0-10000"], 3, "qsub: Array job exceeds server or queue size limit"),
    (["-q", "few", "-J", "0-10"], 3, "qsub: Array job exceeds server or queue size limit"),
    *((["-J", text], 2, "qsub: illegal -J value") for text in ("5", "5-5", "0-0", "5-1", "1,3,5", "0-3,7", "0-3:0")),
    *((["-N", text], 2, "qsub: illegal -N value") for text in ("a b", "a/b", '="tiles"', "n" * 231)),
    (["-W", "depend=afterok:16[1]"], 2, "qsub: illegal -W value"),
    (["-W", "depend=aftercorr:16"], 2, "qsub: illegal -W value"),
    (["-W", "colour=red"], 2, "qsub: illegal -W value"),
    (["-j", "both"], 2, "qsub: illegal -j value"),
    (["-r", "n", "-J", "0-3"], 2, "qsub:  cannot submit non-rerunable Array Job"),
    (["-l", "select=1", "-l", "ncpus=2"], 5, 'qsub: "-lresource=" cannot be used with "select" or "place"'),
]


@pytest.mark.parametrize(("words", "code", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_refusals(server: PbsServer, work: Path, words: list[str], code: int, message: str) -> None:
    (work / "job.sh").write_text("#!/bin/bash\ntrue\n")
    before = server.run("qstat", "-x").stdout
    answer = server.run("qsub", *words, "job.sh", cwd=work, check=False)
    assert (answer.returncode, answer.stdout) == (code, "")
    assert message in answer.stderr.splitlines()[0] or message in answer.stderr.splitlines()[1]
    assert ("usage" in answer.stderr) == (code == 2)
    assert server.run("qstat", "-x").stdout == before, "nothing may be queued"


def test_refused_scripts(server: PbsServer, work: Path) -> None:
    missing = server.run("qsub", "nowhere.sh", cwd=work, check=False)
    assert (missing.returncode, missing.stderr) == (1, "qsub: script file:: No such file or directory\n")
    (work / "dos.sh").write_bytes(b"#!/bin/bash\r\ntrue\r\n")
    dos = server.run("qsub", "dos.sh", cwd=work, check=False)
    assert dos.returncode == 1
    assert "script contains cr, lf" in dos.stderr
    (work / "psij.sh").write_text('#!/bin/bash\n#PBS -N="tiles"\ntrue\n')
    quoted = server.run("qsub", "psij.sh", cwd=work, check=False)
    assert quoted.returncode == 2
    assert "illegal -N" in quoted.stderr
    (work / "odd.sh").write_text("#!/bin/bash\n#PBS -Q workq\ntrue\n")
    odd = server.run("qsub", "odd.sh", cwd=work, check=False)
    assert odd.returncode == 1
    assert "qsub: directive error: -Q workq" in odd.stderr


@pytest.mark.parametrize("command", ["qstat", "qdel", "qhold", "qrls"])
def test_unknown_ids(server: PbsServer, submit: Callable[..., str], command: str) -> None:
    job = submit("-h")
    answer = server.run(command, "4711", job, check=False)
    assert (answer.returncode, answer.stderr) == (153, f"{command}: Unknown Job Id 4711.vm\n")
    if command == "qstat":
        assert job in answer.stdout, "the others are served"
    server.run("qdel", job, check=False)


def test_finished_jobs_need_x(server: PbsServer, submit: Callable[..., str]) -> None:
    job = submit()
    server.wait(job)
    plain = server.run("qstat", job, check=False)
    text = f"qstat: {job} Job has finished, use -x or -H to obtain historical job information\n"
    assert (plain.returncode, plain.stdout, plain.stderr) == (35, "", text)
    assert job in server.run("qstat", "-x", job).stdout
    assert server.run("qdel", job, check=False).returncode == 35
    assert server.run("qrerun", submit("-h"), check=False).returncode == 159


# What runs, and with what.


def test_what_a_subjob_sees(server: PbsServer, work: Path) -> None:
    script = '#!/bin/bash\nenv -0 > "$PBS_O_WORKDIR/env.$PBS_ARRAY_INDEX"\npwd\ncat "$PBS_NODEFILE"\n'
    (work / "job.sh").write_text(script)
    own = {"SECRET": "mine", "LOGNAME": "user", "CHOSEN": "yes"}
    words = ["-J", "0-10:2", "-N", "1tile", "-v", 'CHOSEN,BANDS="B02,B03",A=1', "-j", "oe", "-o", "out/"]
    words += ["-l", "select=2:ncpus=2:mpiprocs=2:mem=10mb", "-l", "walltime=60", "-A", "grp"]
    job = server.run("qsub", *words, "job.sh", cwd=work, env=own).stdout.strip()
    server.wait(job)
    found = dict(part.split("=", 1) for part in (work / "env.4").read_text().split("\0") if part)
    number = job.partition("[")[0]
    home = str(server.folder.parent / "home")
    expected = {
        "PBS_ARRAY_ID": f"{number}[].vm",
        "PBS_ARRAY_INDEX": "4",
        "PBS_JOBID": f"{number}[4].vm",
        "PBS_JOBNAME": "1tile",
        "PBS_NODEFILE": f"{server.folder}/aux/{number}[4].vm",
        "PBS_NODENUM": "0",
        "PBS_TASKNUM": "1",
        "PBS_QUEUE": "workq",
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_ACCOUNT": "grp",
        "PBS_JOBDIR": home,
        "PBS_O_WORKDIR": str(work),
        "PBS_O_HOST": "vm",
        "PBS_O_LOGNAME": "user",
        "NCPUS": "2",
        "OMP_NUM_THREADS": "2",
        "HOME": home,
        "CHOSEN": "yes",
        "BANDS": "B02,B03",
        "A": "1",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["TMPDIR"].endswith(f"pbs.{number}[4].vm")
    assert not Path(found["TMPDIR"]).exists()
    assert "PBS_O_PATH" in found
    assert "SECRET" not in found
    output = (work / "out" / f"{number}[4].vm.OU").read_text().split()
    assert output == [home, *["vm"] * 4]
    assert sorted(int(path.suffix[1:]) for path in work.glob("env.*")) == [0, 2, 4, 6, 8, 10]


def test_all_of_the_environment_with_v(server: PbsServer, work: Path) -> None:
    own = {"SECRET": "mine"}
    job = server.run("qsub", "-V", "-o", "x", "--", "/usr/bin/env", cwd=work, env=own).stdout.strip()
    server.wait(job)
    assert "SECRET=mine" in (work / "x").read_text()
    refused = server.run("qsub", "-v", "NO_SUCH_NAME", "--", "/bin/true", cwd=work, check=False)
    assert refused.returncode == 1


def test_output_names(server: PbsServer, submit: Callable[..., str], work: Path) -> None:
    both = "echo to-out; echo to-err >&2\n"
    jobs = [
        submit("-N", "plain", script=both),
        submit("-N", "array", "-J", "0-1", script=both),
        submit("-J", "0-1", "-j", "oe", "-o", "log.^array_index^.txt", script=both),
        submit("-J", "0-1", "-o", "out", "-e", "out/", script=both),
        submit("-N", "home", "-k", "oe", script=both),
        submit("-j", "oe", "-k", "doe", "-o", "direct", script="echo now; while [ ! -e go ]; do sleep 0.02; done\n"),
    ]
    wait_for_state(server, jobs[-1], "R")
    limit = time.monotonic() + 10
    while not ((work / "direct").exists() and (work / "direct").read_text()):
        assert time.monotonic() < limit, "with -k doe the file grows while the job runs"
        time.sleep(0.02)
    (server.folder.parent / "home" / "go").touch()
    server.wait(*jobs)
    (server.folder.parent / "home" / "go").unlink()
    numbers = [re.match(r"\d+", job).group() for job in jobs]  # type: ignore[union-attr]
    names = {path.name for path in work.iterdir()}
    assert {f"plain.o{numbers[0]}", f"plain.e{numbers[0]}"} <= names
    assert {f"array.{letter}{numbers[1]}.{index}" for letter in "oe" for index in (0, 1)} <= names
    assert {"log.0.txt", "log.1.txt"} <= names
    assert (work / "log.1.txt").read_text() == "to-out\nto-err\n"
    folder = {path.name for path in (work / "out").iterdir()}
    assert folder == {f"{numbers[3]}[{index}].vm.{kind}" for index in (0, 1) for kind in ("OU", "ER")}
    home = {path.name for path in (server.folder.parent / "home").iterdir()}
    assert home >= {f"home.o{numbers[4]}", f"home.e{numbers[4]}"}


def test_output_without_a_folder_is_kept_apart(server: PbsServer, submit: Callable[..., str]) -> None:
    job = submit("-j", "oe", "-o", "missing/x", script="echo lost\n")
    assert server.wait(job)[job]["Exit_status"] == "0"
    assert (server.folder / "undelivered" / f"{job}.OU").read_text() == "lost\n"


def test_command_line_before_directives(server: PbsServer, submit: Callable[..., str], work: Path) -> None:
    script = "#PBS -N fromscript\n#PBS -l walltime=100,mem=2048mb\n# a comment\necho\n#PBS -N late\n"
    job = submit("-l", "walltime=3700", script=script)
    found = server.wait(job)[job]
    assert found["Job_Name"] == "fromscript"
    assert found["Resource_List.walltime"] == "01:01:40"
    assert found["Resource_List.mem"] == "2gb"
    assert found["Resource_List.select"] == "1:ncpus=1:mem=2048mb"
    piped = server.run("qsub", stdin="#PBS -N piped\nexit 4\n", cwd=work).stdout.strip()
    found = server.wait(piped)[piped]
    assert (found["Job_Name"], found["Exit_status"]) == ("piped", "4")


def test_old_nodes_syntax(server: PbsServer, submit: Callable[..., str]) -> None:
    job = submit("-l", "nodes=1:ppn=2")
    found = server.wait(job)[job]
    assert found["Resource_List.select"] == "1:ncpus=2:mpiprocs=2"
    assert found["Resource_List.place"] == "scatter"


# How things end.


def test_exit_codes(server: PbsServer, submit: Callable[..., str]) -> None:
    codes = {
        submit(script="exit 3\n"): "3",
        submit(script="kill -9 $$\n"): "137",
        submit("--", "/bin/sh", "-c", "kill -USR1 $$"): "266",
        submit("--", "/bin/no-such-command"): "254",
    }
    found = server.wait(*codes)
    assert {job: found[job]["Exit_status"] for job in codes} == codes
    assert {found[job]["substate"] for job in codes} == {"93"}


@pytest.mark.parametrize(("failing", "parent", "ran"), [(0, "0", "afterok"), (3, "1", "afternotok")])
def test_the_last_subjob_decides(
    server: PbsServer, submit: Callable[..., str], failing: int, parent: str, ran: str
) -> None:
    """Facts 3.5: the parent's Exit_status is overwritten, and dependencies believe it; substate is right."""
    script = "sleep 2.$((PBS_ARRAY_INDEX * 2))\n[ $PBS_ARRAY_INDEX != $BAD ]\n"
    array = submit("-J", "0-3", "-v", f"BAD={failing}", script=script)
    children = {kind: submit("-W", f"depend={kind}:{array}", "--", "/bin/true") for kind in ("afterok", "afternotok")}
    last = submit("-W", f"depend=afterany:{array}", "--", "/bin/true")
    assert server.attributes(last)[last]["job_state"] == "H"
    found = server.wait(array, *children.values(), last)
    assert found[array]["Exit_status"] == parent
    assert found[array]["substate"] == "93"
    assert found[element(array, failing)]["Exit_status"] == "1"
    assert found[last]["Exit_status"] == "0"
    for kind, child in children.items():
        assert ("Exit_status" in found[child]) == (kind == ran)
        assert found[child]["substate"] == "92"
        assert found[child]["job_state"] == "F"
        assert ("comment" in found[child]) == (kind == ran)


def test_dependencies_on_jobs_that_are_over_or_unknown(server: PbsServer, submit: Callable[..., str]) -> None:
    good, bad = submit(), submit(script="exit 1\n")
    server.wait(good, bad)
    ran = [submit("-W", f"depend={text}") for text in (f"afterok:{good}", f"afternotok:{bad}", f"afterany:{bad}")]
    never = [submit("-W", f"depend={text}") for text in (f"afterok:{bad}", "afterok:99999", f"afternotok:{good}")]
    found = server.wait(*ran, *never)
    assert [found[job].get("Exit_status") for job in ran] == ["0"] * 3
    assert [(found[job].get("Exit_status"), found[job]["substate"]) for job in never] == [(None, "92")] * 3


def test_impossible_requests_wait_for_ever(server: PbsServer, submit: Callable[..., str]) -> None:
    jobs = [submit("-l", "ncpus=64"), submit("-q", "paused"), submit("-l", "select=2,place=scatter")]
    time.sleep(0.3)
    found = server.attributes(*jobs)
    assert {found[job]["job_state"] for job in jobs} == {"Q"}
    assert found[jobs[0]]["comment"].startswith("Can Never Run: Insufficient amount of resource: ncpus")
    server.run("qdel", *jobs)
    found = server.attributes(*jobs)
    assert {(found[job]["job_state"], found[job]["substate"], found[job].get("Exit_status")) for job in jobs} == {
        ("F", "91", None)
    }


def test_walltime(server: PbsServer, submit: Callable[..., str], work: Path) -> None:
    caught = f"trap 'echo caught > {work}/caught; exit 0' TERM\nsleep 60 &\nwait\n"
    stubborn = "trap '' TERM\necho $$ > $PBS_O_WORKDIR/pid\nwhile true; do sleep 0.05; done\n"
    jobs = [
        submit("-l", "walltime=1", "-e", "err", script=caught),
        submit("-l", "walltime=1", "-j", "oe", "-o", "joined", script=stubborn),
    ]
    found = server.wait(*jobs)
    for job in jobs:
        assert (found[job]["Exit_status"], found[job]["substate"]) == ("-29", "93")
        assert found[job]["comment"].endswith("and exceeded resource walltime")
    message = r"=>> PBS: job killed: walltime \d+ exceeded limit 1\n"
    assert re.search(message, (work / "err").read_text())
    assert re.search(message, (work / "joined").read_text())
    assert (work / "caught").read_text() == "caught\n"
    assert not is_alive(int((work / "pid").read_text())), "SIGKILL follows"


def test_qdel(server: PbsServer, submit: Callable[..., str]) -> None:
    array = submit("-J", "0-3%2", script="sleep 60\n")
    wait_for_state(server, element(array, 1), "R")
    server.run("qdel", element(array, 3))
    server.run("qdel", element(array, 0))
    wait_for_state(server, element(array, 0), "X")
    assert server.run("qdel", element(array, 0), check=False).returncode == 15159 % 256
    found = server.attributes(array)
    assert found[element(array, 0)]["Exit_status"] == "271"
    assert found[element(array, 3)]["job_state"] == "X"
    server.run("qdel", array)
    found = server.wait(array)
    assert found[array]["comment"].endswith("and terminated")
    assert {found[job]["substate"] for job in found} == {"91"}
    # Subjobs that do not run when their array is deleted show the array's Exit_status, 1, from then on.
    assert [found[element(array, index)]["Exit_status"] for index in (0, 1, 3)] == ["1", "271", "1"]
    assert found[element(array, 3)]["comment"] == "Subjob finished"


def test_throttle_and_states(server: PbsServer, submit: Callable[..., str]) -> None:
    array = submit("-J", "0-4:2%1", script="[ $PBS_ARRAY_INDEX = 0 ] || sleep 60\n")
    wait_for_state(server, element(array, 2), "R")
    rows = [line.split() for line in server.run("qstat", "-t", array).stdout.splitlines()[2:]]
    assert [(row[0], row[3], row[4]) for row in rows] == [
        (array, "0", "B"),
        (element(array, 0), "00:00:00", "X"),
        (element(array, 2), "0", "R"),
        (element(array, 4), "0", "Q"),
    ]
    found = server.attributes(array)[array]
    assert found["array_state_count"] == "Queued:1 Running:1 Exiting:0 Expired:1"
    assert found["array_indices_submitted"] == "0-4:2"
    assert found["array_indices_remaining"] == "4"
    assert found["max_run_subjobs"] == "1"
    server.run("qdel", array)
    server.wait(array)


def test_cores_are_not_oversubscribed(server: PbsServer, submit: Callable[..., str], work: Path) -> None:
    array = submit("-J", "0-5", "-l", "ncpus=3", script="date +%s.%N\nsleep 0.3\ndate +%s.%N\n")
    found = server.wait(array)
    spans = []
    for index in range(6):
        start, end = (work / f"job.sh.o{array.partition('[')[0]}.{index}").read_text().split()
        spans.append((float(start), float(end)))
    assert max(sum(start <= moment < end for start, end in spans) for moment, _ in spans) == 2
    assert found[element(array, 0)]["exec_vnode"] == "(vm:ncpus=3)"


def test_hold_and_release(server: PbsServer, submit: Callable[..., str]) -> None:
    job = submit("-h")
    assert server.attributes(job)[job]["Hold_Types"] == "u"
    child = submit("-W", f"depend=afterany:{job}")
    server.run("qrls", job)
    found = server.wait(job, child)
    assert found[job]["Exit_status"] == found[child]["Exit_status"] == "0"
    paused = submit("-q", "paused")
    server.run("qhold", paused)
    assert server.attributes(paused)[paused]["job_state"] == "H"
    server.run("qdel", paused)


def test_afterany_on_a_job_deleted_before_it_ran(server: PbsServer, submit: Callable[..., str]) -> None:
    """Such a dependant is told nothing, and waits for ever."""
    job = submit("-q", "paused")
    child = submit("-W", f"depend=afterany:{job}")
    server.run("qdel", job)
    time.sleep(0.3)
    assert server.attributes(child)[child]["job_state"] == "H"
    server.run("qdel", child)


# What is printed.


def test_json_has_the_first_of_several(server: PbsServer, submit: Callable[..., str]) -> None:
    jobs = [submit("-v", "C=005"), submit()]
    server.wait(*jobs)
    found = json.loads(server.run("qstat", "-x", "-f", "-F", "json", *jobs).stdout)
    assert list(found["Jobs"]) == jobs[:1]
    assert found["Jobs"][jobs[0]]["Variable_List"]["C"] == 5, "openpbs#1255"
    assert found["pbs_version"] == "23.06.06"


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PbsServer, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "home").mkdir()
    (folder / "b.pbs").write_text("sleep 0.$((PBS_ARRAY_INDEX * 2))\n[ $PBS_ARRAY_INDEX != ${BAD} ] || exit 3\n")
    (folder / "k.pbs").write_text("kill -9 $$\n")
    server = PbsServer(folder / "s", ncpus=4, home=folder / "home", name="server", kill_delay_s=1)
    with server:

        def submit(*words: str) -> str:
            clean = {"LOGNAME": "user", "LANG": "C.UTF-8", "SHELL": "/bin/bash", "HOME": "/home/user", "PATH": "/bin"}
            command = [str(server.folder / "bin/qsub"), *words]
            done = subprocess.run(command, cwd=folder, env=clean, check=True, capture_output=True, text=True)
            return done.stdout.strip()

        ids = {}
        where = f"{folder}/"
        ids["3[]"] = submit(*f"-v BAD=0 -J 0-3 -l select=1:ncpus=1 -l walltime=5:0 -j oe -o {where} b.pbs".split())
        for number, kind in (("4", "afterok"), ("5", "afternotok")):
            depend = f"depend={kind}:{ids['3[]']}"
            ids[number] = submit("-W", depend, "-o", "/dev/null", "-j", "oe", "--", "/bin/true")
        ids["17"] = submit(*["-W", "depend=afterok:99999", "--", "/bin/true"])
        ids["24"] = submit(*["-o", "/dev/null", "-j", "oe", "k.pbs"])
        ids["23"] = submit(*["-l", "walltime=00:00:01", "-o", "/dev/null", "-j", "oe", "--", "/bin/sleep", "100"])
        server.wait(*ids.values())
        ids["25[]"] = submit(*f"-J 0-2%2 -o {where} -j oe -- /bin/sleep 100".split())
        wait_for_state(server, element(ids["25[]"], 1), "R")
        server.run("qdel", element(ids["25[]"], 2))
        server.run("qdel", ids["25[]"])
        server.wait()
        yield server, ids


class TestRecorded:
    """The same submissions as in the recording give the same lines but for times, ids and numbers."""

    def blocks(self, text: str) -> dict[str, list[str]]:
        parts = re.split(r"^Job Id: (\S+)\n", text, flags=re.M)[1:]
        return {parts[index].partition(".")[0]: parts[index + 1].splitlines() for index in range(0, len(parts), 2)}

    # Attributes whose presence depends on how long a job ran, and those of our own submission.
    UNSTABLE = re.compile(r" {4}(session_id|max_run_subjobs|depend)\b")

    @pytest.mark.parametrize(
        ("recorded", "ours"),
        [(name, name) for name in ("3[]", "3[0]", "3[3]", "4", "5", "17", "23", "24", "25[]", "25[0]")]
        + [("25[1]", "25[2]")],
    )
    def test_full_listing(self, replayed: tuple[PbsServer, dict[str, str]], recorded: str, ours: str) -> None:
        server, ids = replayed
        job = ids[re.sub(r"\[\d+\]", "[]", ours)]
        job = re.sub(r"\[\]", re.search(r"\[\d*\]|$", ours).group(), job) if "[" in ours else job  # type: ignore[union-attr]
        real = self.blocks((RECORDED / "small.txt").read_text())[recorded]
        mine = self.blocks(server.run("qstat", "-x", "-f", "-w", "-t", job).stdout)[job.partition(".")[0]]

        def shape(lines: list[str]) -> list[str]:
            kept = [line for line in lines if not self.UNSTABLE.match(line)]
            assert all(re.match(r" {4}[\w.]+ = ", line) for line in kept if line), "one attribute a line"
            return [line.partition(" = ")[0] for line in kept]

        assert shape(mine) == shape(real)
        fixed = r" {4}(job_state|substate|Exit_status|Checkpoint|Hold_Types|Join_Path|Keep_Files|Resource_List\.\w+|"
        fixed += r"Rerunable|run_count|Stageout_status|array\w*_(count|submitted|remaining)|exec_vnode|executable|"
        fixed += "argument_list|server|queue|Job_Name|Priority|Mail_Points|project|Submit_Host) = "

        def values(lines: list[str]) -> list[str]:
            return [line for line in lines if re.match(fixed, line) and "walltime" not in line]

        assert values(mine) == values(real)

    def test_short_listing(self, replayed: tuple[PbsServer, dict[str, str]]) -> None:
        server, ids = replayed
        real = (RECORDED / "qstat_xt.txt").read_text().splitlines()
        mine = server.run("qstat", "-x", "-t", ids["3[]"], ids["4"]).stdout.splitlines()

        def shape(lines: list[str]) -> list[str]:
            user = re.compile(r"(?<=^.{35})\S+ *(?=  +[\d:]+ [A-Z] )")
            return [user.sub(lambda found: "u".ljust(len(found.group())), line) for line in lines]

        head, rows = real[:2], [line for line in real if re.match(r"(3\[\d?\]|4)\.server", line)]
        number = ids["3[]"].partition("[")[0]
        mapped = [re.sub(r"^\d+", lambda f: {number: "3"}.get(f.group(), "4"), line) for line in mine[2:]]
        assert mine[:2] == head
        assert shape(mapped) == shape(rows)

    def test_dsv_and_json(self, replayed: tuple[PbsServer, dict[str, str]]) -> None:
        server, ids = replayed
        ours = ids["25[]"]
        real = (RECORDED / "small.dsv").read_text().splitlines()[0].split("|")
        mine = server.run("qstat", "-x", "-f", "-F", "dsv", ours).stdout.splitlines()[0].split("|")
        names = [part.partition("=")[0] for part in mine[1:] if not part.startswith("max_run_subjobs")]
        assert names == [part.partition("=")[0] for part in real[1:]]
        text = server.run("qstat", "-x", "-f", "-t", "-F", "json", ours, ids["3[]"]).stdout
        document = json.loads(text)
        assert list(document["Jobs"]) == [ours, *(element(ours, index) for index in range(3))]
        head = (RECORDED / "small.json").read_text().splitlines()
        assert [re.sub(r"\d+", "N", line) for line in text.splitlines()[:8]] == [
            re.sub(r"\d+", "N", line.replace("user@", f"{document['Jobs'][ours]['Job_Owner'].partition('@')[0]}@"))
            for line in head[:8]
        ]


def test_limits_are_listed(server: PbsServer) -> None:
    text = server.run("qmgr", "-c", "list server max_array_size").stdout
    assert text == "Server vm\n    max_array_size = 10000\n\n"
    assert "resources_max.walltime = 00:10:00" in server.run("qmgr", "-c", "list queue short").stdout
    assert "resources_max.ncpus = 4" in server.run("qstat", "-Qf", "short").stdout
    assert "job_history_enable = True" in server.run("qstat", "-Bf").stdout
    assert server.run("qmgr", "-c", "set server max_array_size = 5", check=False).returncode != 0
    node = json.loads(server.run("pbsnodes", "-a", "-F", "json").stdout)["nodes"]["vm"]
    assert node["pcpus"] == 8
    assert server.run("pbsnodes", "other", check=False).returncode == 1


def test_folded_and_wide(server: PbsServer, submit: Callable[..., str]) -> None:
    job = submit("-h", "-N", "a-name-that-is-longer-than-16")
    folded = server.run("qstat", "-f", job).stdout
    assert all(len(line.expandtabs()) <= 80 for line in folded.splitlines())
    unfolded = re.sub(r"\n\t", "", folded)
    assert unfolded == server.run("qstat", "-f", "-w", job).stdout
    assert "a-name-that-is-* " in server.run("qstat", job).stdout
    server.run("qdel", job)


# The server itself.


def test_without_history_ended_jobs_are_unknown_and_x_is_refused_for_all(tmp_path: Path) -> None:
    """As recorded: `-x` says one line for each id, also of jobs that wait, and ends with 0."""
    with PbsServer(tmp_path / "s", history=False, home=tmp_path) as server:
        job = server.run("qsub", "-o", "x", "-j", "oe", "--", "/bin/true", cwd=tmp_path).stdout.strip()
        held = server.run("qsub", "-h", "--", "/bin/true", cwd=tmp_path).stdout.strip()
        assert server.wait(job) == {}
        answer = server.run("qstat", job, check=False)
        assert (answer.returncode, answer.stderr) == (153, f"qstat: Unknown Job Id {job}\n")
        for words in (["-x", "-t"], ["-x", "-f", "-w", "-t"]):
            answer = server.run("qstat", *words, job, held, check=False)
            refused = "".join(
                f"qstat: PBS is not configured to maintain job history {each}\n" for each in (job, held)
            )
            assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", refused)
        assert "job_history_enable" not in server.run("qstat", "-Bf").stdout
        mixed = server.run("qstat", "-t", job, held, check=False)
        assert (mixed.returncode, mixed.stderr) == (153, f"qstat: Unknown Job Id {job}\n")
        assert mixed.stdout.split()[0] == held and " H " in mixed.stdout
        server.run("qdel", held)


@pytest.mark.parametrize(
    ("name", "short", "wide"),
    [
        ("vm", "0[].vm", "0[].vm"),
        ("pbs-m1.metacentrum.cz", "0[].pbs-m1", "0[].pbs-m1"),
        ("averylongservername.example.org", "0[].averylongser*", "0[].averylongservername"),
    ],
)
def test_listings_cut_the_name_of_the_server(tmp_path: Path, name: str, short: str, wide: str) -> None:
    with PbsServer(tmp_path / "s", history=False, home=tmp_path, name=name) as server:
        job = server.run("qsub", "-h", "-J", "0-1", "--", "/bin/true", cwd=tmp_path).stdout.strip()
        assert job == f"0[].{name}"
        assert server.run("qstat", job).stdout.splitlines()[2].split()[0] == short
        assert server.run("qstat", "-w", job).stdout.splitlines()[2].split()[0] == wide
        assert f"Job Id: {job}\n" in server.run("qstat", "-f", "-w", job).stdout


def test_a_user_may_have_only_so_many_jobs(tmp_path: Path) -> None:
    with PbsServer(tmp_path / "s", history=False, home=tmp_path, max_queued=5) as server:
        server.run("qsub", "-h", "-J", "0-3", "--", "/bin/true", cwd=tmp_path)
        server.run("qsub", "-h", "--", "/bin/true", cwd=tmp_path)
        answer = server.run("qsub", "-h", "--", "/bin/true", cwd=tmp_path, check=False)
        assert (answer.returncode, answer.stderr) == (38, "qsub: would exceed complex's per-user limit\n")


def test_a_job_whose_node_is_lost_runs_once_more_beside_itself(tmp_path: Path) -> None:
    with PbsServer(tmp_path / "s", home=tmp_path) as server:
        script = f"echo $$ >> {tmp_path}/pids\nsleep 300\n"
        job = server.run("qsub", stdin=script, cwd=tmp_path).stdout.strip()
        limit = time.monotonic() + 20
        for count in (1, 2):
            while not (tmp_path / "pids").exists() or len((tmp_path / "pids").read_text().split()) < count:
                assert time.monotonic() < limit
                time.sleep(0.02)
            if count == 1:
                server.lose(job)
        assert server.attributes(job)[job]["run_count"] == "2"
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert all(is_alive(pid) for pid in pids)
    assert not any(is_alive(pid) for pid in pids)


def test_stop_kills_jobs_and_a_new_start_knows_them(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("mine")
    server = PbsServer(tmp_path, home=tmp_path).start()
    # The process leaves its session's leader behind, and must be found all the same.
    script = f"(sleep 300 & echo $! > {tmp_path}/pid; wait) & sleep 300\n"
    job = server.run("qsub", stdin=script, cwd=tmp_path).stdout.strip()
    array = server.run("qsub", "-h", "-J", "0-2", "--", "/bin/true", cwd=tmp_path).stdout.strip()
    limit = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < limit
        time.sleep(0.02)
    server.stop()
    assert not is_alive(int((tmp_path / "pid").read_text()))
    down = server.run("qstat", check=False)
    assert down.returncode == 111
    assert "cannot connect to server vm" in down.stderr
    assert (tmp_path / "keep").read_text() == "mine"
    with server:
        found = server.attributes()
        assert found[job]["Exit_status"] == "265"
        assert found[array]["job_state"] == "H"
        server.run("qrls", array)
        assert server.wait(array)[element(array, 2)]["Exit_status"] == "0"
        next_job = server.run("qsub", "--", "/bin/true", cwd=tmp_path).stdout
        assert next_job == "2.vm\n"


def test_jobs_can_submit_jobs(server: PbsServer, submit: Callable[..., str], work: Path) -> None:
    script = f'cd "$PBS_O_WORKDIR"\nqsub -o inner -j oe -- /bin/echo inside > {work}/id\n'
    server.wait(submit(script=script))
    inner = (work / "id").read_text().strip()
    assert server.wait(inner)[inner]["Exit_status"] == "0"
    assert (work / "inner").read_text() == "inside\n"


def test_unknown_limits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_run"):
        PbsServer(tmp_path, {"workq": {"max_run": 3}})


def test_the_server_ends_with_whoever_started_it(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tests.servers.pbs import PbsServer\n"
        "server = PbsServer(Path(sys.argv[1])).start(); print(server._process.pid, flush=True); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    limit = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert not (tmp_path / "socket").exists()
    assert (tmp_path / "bin" / "qsub").exists()
