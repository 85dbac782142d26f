"""Schedulers: commands, answers as real ones gave them, and job scripts."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpckit
from hpckit.errors import SchedulerError, SchedulerUnavailableError, SubmissionError
from hpckit.sites.jobscript.launch import launch, processes
from hpckit.sites.jobscript.script import render
from hpckit.sites.parts import Mpi
from hpckit.sites.scheduler.local import Local
from hpckit.sites.scheduler.model import Answer, Command, FoundJob, Job, Resources, State
from hpckit.sites.scheduler.pbs import Pbs
from hpckit.sites.scheduler.runner import LocalRunner
from hpckit.sites.scheduler.slurm import Slurm
from hpckit.sites.site import Site, scheduler_of

RECORDED = Path(__file__).parents[1] / "recorded"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def umask() -> str:
    mask = os.umask(0o022)
    os.umask(mask)
    return f"{mask:o}"


def answer(stdout: str = "", code: int = 0, stderr: str = "") -> Answer:
    return Answer(Command(("program",)), code, stdout, stderr)


def make_job(**fields) -> Job:
    resources = Resources(nodes=2, ranks=4, cores=2, memory_mib=9000, walltime_s=5400, partition="rome", account="eo")
    values = {"name": "hp-x-1-ingest", "stage": "ingest", "script": Path("/run/x.sh"), "logs": Path("/run/logs")}
    return Job(**{**values, "resources": resources, "count": 7, "first": 14, "throttle": 3, **fields})


def make_site(scheduler: str = "slurm", **fields) -> Site:
    return Site.model_validate({"name": "s", "scheduler": scheduler, **fields})


def script(job: Job | None = None, site: Site | None = None, run: str = "/scratch/c.run") -> str:
    return render(job or make_job(), site or make_site(), run=Path(run), submission=1, command=["/opt/hpckit"])


def directives(text: str, prefix: str) -> set[str]:
    return {line.removeprefix(prefix + " ") for line in text.splitlines() if line.startswith(prefix + " ")}


class TestSlurm:
    def test_running_and_pending_elements_are_told_apart(self):
        seen = Slurm().read_query(
            answer("7_0|RUNNING|None|n1\n7_[1-9%3]|PENDING|JobArrayTaskLimit|\n8|COMPLETED|None|n2")
        )
        assert [(s.job, s.index, s.state) for s in seen] == [
            ("7", 0, State.RUNNING),
            ("7", None, State.PENDING),
            ("8", None, State.SUCCEEDED),
        ]

    def test_a_list_of_pending_elements_that_slurm_cut_is_still_understood(self):
        text = recorded("slurm-22.05/squeue_irregular_truncated.txt").split("|")[0].split()[0]
        seen = Slurm().read_query(answer(f"{text}|PENDING|JobArrayTaskLimit|"))
        assert [(s.index, s.state) for s in seen] == [(None, State.PENDING)]

    @pytest.mark.parametrize("reason", ["DependencyNeverSatisfied", "JobHeldUser", "QOSMaxCpuPerJobLimit"])
    def test_what_waits_for_ever_is_held(self, reason):
        assert Slurm().read_query(answer(f"7_[0-3]|PENDING|{reason}|"))[0].state is State.HELD

    def test_an_unknown_state_is_shown_and_not_taken_for_an_end(self):
        (seen,) = Slurm().read_query(answer("7_0|NEW_IN_29|None|n1"))
        assert seen.state is State.UNKNOWN and seen.word == "NEW_IN_29" and not seen.state.is_over

    def test_a_forgotten_job_is_no_error_and_a_silent_controller_is(self):
        assert Slurm().read_query(answer("", 1, "slurm_load_jobs error: Invalid job id specified")) == []
        with pytest.raises(SchedulerUnavailableError):
            Slurm().read_query(
                answer("", 1, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
            )
        with pytest.raises(SchedulerUnavailableError):
            Slurm().read_query(answer("", 124, "no answer within 90 s"))

    def test_the_query_asks_for_two_ids_so_that_one_may_be_gone(self):
        command = Slurm().query(["7"])
        assert "7,7" in command.argv and command.environment["SLURM_BITSTR_LEN"] == "0"

    def test_history_as_sacct_printed_it(self):
        lines = (
            "61_2|TIMEOUT|0:0|100|160|60|n1|2|00:30.500||90",
            "61_2.batch|CANCELLED|0:15|100|161|61|n1|2|00:30.500|3240K|100",
            "61_3|CANCELLED by 1000|0:0|100|101|1|n2|2|00:00:00||90",
            "61_4|FAILED|0:9|100|101|1|n2|2|1-00:00:01||90",
            "61_[5-9%4]|CANCELLED by 0|0:0|Unknown|101|0|None assigned|0|00:00:00||90",
        )
        seen = {(s.job, s.index): s for s in Slurm().read_history(answer("\n".join(lines)))}
        assert seen["61", 2].state is State.TIMEOUT and seen["61", 2].max_rss == 3240 * 1024
        assert seen["61", 2].cpu_s == 30.5 and seen["61", 2].elapsed_s == 60
        assert seen["61", 3].state is State.CANCELLED
        assert seen["61", 4].exit_code == 137 and seen["61", 4].cpu_s == 86401
        assert seen["61", None].state is State.CANCELLED and seen["61", None].start is None

    def test_every_state_of_the_recorded_accounting_is_known(self):
        rows = [line.split("|") for line in recorded("slurm-22.05/sacct_all_X.txt").splitlines()[1:]]
        states = {row[3].split()[0] for row in rows}
        assert {"COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"} <= states
        for word in states:
            (seen,) = Slurm().read_history(answer(f"1|{word}|0:0|1|2|1|n1|1|00:00:01||1"))
            assert seen.state is not State.UNKNOWN, word

    @pytest.mark.parametrize(
        ("text", "job"),
        [
            ("1234\n", "1234"),
            ("1234;snellius\n", "1234;snellius"),
            ("Welcome to cluster 7\nproject eo: 12345 hours left\n1234\n", "1234"),
            ("\x1b[1m1234;rome\x1b[0m\r\nsbatch: info: 2 jobs ahead of yours\n", "1234;rome"),
            ("Submitted batch job 1234\n", "1234"),
            ("--- site filter ---\nSubmitted batch job 1234 on cluster rome\n", "1234;rome"),
        ],
    )
    def test_ids_among_what_a_site_prints(self, text, job):
        assert Slurm().read_submit(answer(text)) == job

    @pytest.mark.parametrize("text", ["", "Welcome!\n", "2026\n1234\n", "1234 jobs\n", "1234;a b\n", "12 34\n"])
    def test_a_number_that_may_be_another_s_is_no_id(self, text):
        with pytest.raises(SchedulerError, match="one job id was expected"):
            Slurm().read_submit(answer(text))

    def test_a_refusal_is_said_with_a_remedy(self):
        with pytest.raises(SchedulerError, match="invalid partition") as caught:
            Slurm().read_submit(answer("", 1, "sbatch: error: invalid partition specified: x"))
        assert "sinfo" in caught.value.hint

    def test_dependencies_never_trust_success(self):
        command = Slurm().submit(make_job(), ["1", "2"], hold=True)
        assert "--dependency=afterany:1:2" in command.argv and "--hold" in command.argv
        mirrored = Slurm().submit(make_job(), ["2"], hold=False, mirrored="1")
        assert {"--dependency=afterany:2,aftercorr:1", "--kill-on-invalid-dep=yes"} <= set(mirrored.argv)
        with pytest.raises(SchedulerError, match="no dependencies between elements"):
            Pbs().submit(make_job(), [], hold=False, mirrored="1[].s")
        assert not any("afterok" in word for word in Pbs().submit(make_job(), ["1[].s"], hold=False).argv)


class TestPbs:
    def test_the_recorded_listing(self):
        seen = {(s.job, s.index): s.state for s in Pbs().read_query(answer(recorded("openpbs-23.06/qstat_xt.txt")))}
        assert seen["3[].server", 0] is State.ENDED and seen["4.server", None] is State.ENDED
        assert len(seen) > 30

    def test_a_throttled_array_while_it_runs(self):
        text = """Job id            Name             User              Time Use S Queue
----------------  ---------------- ----------------  -------- - -----
12[].vm           thr.sh           eo                       0 B workq
12[0].vm          thr.sh           eo                00:00:00 X workq
12[2].vm          thr.sh           eo                       0 R workq
12[4].vm          thr.sh           eo                       0 Q workq
"""
        seen = {s.index: s.state for s in Pbs().read_query(answer(text)) if s.job == "12[].vm"}
        assert seen == {None: State.RUNNING, 0: State.ENDED, 2: State.RUNNING, 4: State.PENDING}

    def test_the_recorded_ends(self):
        seen = {(s.job, s.index): s for s in Pbs().read_history(answer(recorded("openpbs-23.06/small.txt")))}
        # The parent says 0 though its first subjob failed: only the subjob counts.
        assert seen["3[].server", 0].state is State.FAILED
        assert seen["3[].server", None].state is State.ENDED
        assert seen["5.server", None].state is State.CANCELLED, "F without Exit_status never ran"
        assert seen["17.server", None].state is State.CANCELLED
        assert seen["23.server", None].state is State.TIMEOUT
        assert seen["26.server", None].exit_code == 266
        assert seen["25[].server", 0].elapsed_s == 19 and seen["25[].server", 0].max_rss == 1272 * 1024

    def test_one_unknown_id_of_several_is_no_error(self):
        listing = "1[].s  x  eo  0 B workq\n"
        assert len(Pbs().read_query(answer(listing, 153, "qstat: Unknown Job Id 4711.vm"))) == 1

    def test_without_job_history_live_jobs_are_seen_and_the_others_denied(self):
        text = recorded("openpbs-23.06/qstat_history_off.txt")
        refused, rest = text.partition("--- qstat -x -t ids\n")[2].split("--- qstat -x -f -w -t\n")
        refused_full, rest = rest.split("--- qstat -t ids\n")
        ids = ("24[].pbs", "25.pbs", "26.pbs", "27.pbs", "28.pbs")
        asked = Command(("qstat", "-t", "-w", *ids))
        errors = "".join(f"{line}\n" for line in rest.splitlines() if line.startswith("qstat:"))
        listing = "".join(f"{line}\n" for line in rest.splitlines() if re.match(r"\d+\S*\.pbs ", line))
        seen = {s.job: s for s in Pbs().read_query(Answer(asked, 153, listing, errors))}
        assert (seen["27.pbs"].state, seen["28.pbs"].state) == (State.RUNNING, State.HELD)
        assert all(seen[job].denied and seen[job].state is State.UNKNOWN for job in ids[:3])
        assert "-x" not in Pbs().query(ids).argv, "it would be refused for all of them, with exit code 0"
        for words in (refused, refused_full):
            assert Pbs().read_history(Answer(Command(("qstat", "-x", *ids)), 0, "", words)) == []

    def test_that_a_job_has_finished_is_an_end(self):
        words = "qstat: 5.vm.example.org Job has finished, use -x or -H to obtain historical job information\n"
        asked = Command(("qstat", "-t", "-w", "5.vm.example.org", "6[].vm.example.org"))
        seen = Pbs().read_query(Answer(asked, 35, "6[].vm   hp   eo   0 B workq\n", words))
        assert {(s.job, s.state) for s in seen} == {
            ("5.vm.example.org", State.ENDED),
            ("6[].vm.example.org", State.RUNNING),
        }

    def test_ids_that_the_listing_cuts_are_those_that_were_asked_for(self):
        text = recorded("openpbs-23.06/qstat_fqdn.txt").partition("# same jobs")[0]
        ids = ("68[].pbs.cluster.example", "69.pbs.cluster.example", "70.pbs.cluster.example")
        asked = Command(("qstat", "-t", "-w", *ids, "71.pbs.cluster.example", "72.pbs.cluster.example"))
        seen = {(s.job, s.index): s.state for s in Pbs().read_query(Answer(asked, 0, text, ""))}
        assert seen["68[].pbs.cluster.example", 2] is State.RUNNING
        assert seen["70.pbs.cluster.example", None] is State.HELD
        assert len(seen) == 9

    @pytest.mark.parametrize(
        ("listed", "asked"),
        [
            ("123[].pbs-m1", "123[].pbs-m1.metacentrum.cz"),
            ("123[].pbs-m1.met*", "123[].pbs-m1.metacentrum.cz"),
            ("123[].PBS-M1.metacentrum.cz", "123[].pbs-m1.metacentrum.cz"),
            ("123[].pbs-m1.metacentrum.cz", "123[].pbs-m1"),
            ("123[]", "123[].pbs"),
        ],
    )
    def test_a_server_may_be_named_in_full_or_in_part(self, listed, asked):
        line = f"{listed.replace('[]', '[7]')}  hp-1  eo  00:00:01 R workq\n"
        (seen,) = Pbs().read_query(Answer(Command(("qstat", "-t", "-w", asked)), 0, line, ""))
        assert (seen.job, seen.index, seen.state) == (asked, 7, State.RUNNING)

    def test_a_job_of_the_same_number_on_another_server_is_another_one(self):
        asked = Command(("qstat", "-t", "-w", "12.alpha"))
        (seen,) = Pbs().read_query(Answer(asked, 0, "12.beta  hp-1  eo  0 R workq\n", ""))
        assert seen.job == "12.beta"
        assert Pbs().read_query(Answer(asked, 153, "", "qstat: Unknown Job Id 12.alphabet\n")) == []

    def test_a_server_that_is_away_is_not_read_as_knowing_nothing(self):
        words = "qstat: Unknown Job Id 1.a\nConnection refused\nqstat: cannot connect to server b (errno=15010)\n"
        with pytest.raises(SchedulerUnavailableError):
            Pbs().read_query(Answer(Command(("qstat", "-t", "-w", "1.a", "1.b")), 158, "", words))

    def test_refusals(self):
        for code, text, remedy in (
            (170, "qsub: Unknown queue", "qstat -Q"),
            (188, "qsub: Job violates queue and/or server resource limits", "qstat -Qf"),
            (3, "qsub: Array job exceeds server or queue size limit", "arrays.max_size"),
        ):
            with pytest.raises(SchedulerError, match=re.escape(text.partition(": ")[2])) as caught:
                Pbs().read_submit(answer("", code, text))
            assert remedy in caught.value.hint
        with pytest.raises(SchedulerUnavailableError):
            Pbs().read_submit(answer("", 255, "Connection refused\nqsub: cannot connect to server vm (errno=15010)"))

    @pytest.mark.parametrize(
        ("text", "remedy"),
        [
            ("would exceed complex's per-user limit", "max_submitted"),
            ("would exceed queue workq's per-user limit", "max_submitted"),
            ("would exceed user eo's limit on resource ncpus in complex", "fewer cores"),
            ("Maximum number of jobs for user eo already in queue workq", "max_submitted"),
            ("Access to queue is denied", "--partition"),
            ("Queue is not enabled", "--partition"),
            ("Job rejected by all possible destinations", "qstat -Qf"),
            ("Invalid Account", "--account"),
            ("Bad UID for job execution", "admins"),
            ("Bad GID for job execution", "group_list"),
            ('"-lresource=" cannot be used with "select" or "place", resource is: ncpus', "job_wide"),
        ],
    )
    def test_refusals_of_the_server_have_a_remedy(self, text, remedy):
        with pytest.raises(SchedulerError, match=re.escape(text)) as caught:
            Pbs().read_submit(answer("", 38, f"qsub: {text}\n"))
        assert remedy in (caught.value.hint or "")

    def test_element_ids(self):
        assert Pbs().element_id("12[].vm", 3) == "12[3].vm"
        assert Pbs().read_submit(answer("12[].vm\n")) == "12[].vm"

    def test_a_job_is_found_by_its_full_name(self):
        text = "Job Id: 7[].vm\n    Job_Name = hp-1\n    Submit_arguments = -h /run/x.sh\n    job_state = H\n\n"
        text += "Job Id: 8.vm\n    Job_Name = hp-11\n\nJob Id: 9.vm\n    Job_Name = hp-1\n    Job_Owner = eve@vm\n"
        assert Pbs().read_find(answer(text), [make_job(name="hp-1")]) == [FoundJob("7[].vm", "hp-1", "/run/x.sh")]

    @pytest.mark.parametrize("text", ["7[].vm\n", "Budget: 12.5 hours\n7[].vm\n", "7[].vm\nqsub: 3 jobs wait\n"])
    def test_ids_among_what_a_site_prints(self, text):
        assert Pbs().read_submit(answer(text)) == "7[].vm"

    @pytest.mark.parametrize("text", ["", "7\n", "7[].vm\n8[].vm\n", "Welcome\n"])
    def test_a_number_that_may_be_another_s_is_no_id(self, text):
        with pytest.raises(SchedulerError, match="one job id was expected"):
            Pbs().read_submit(answer(text))


class TestScripts:
    def test_slurm_directives(self):
        assert directives(script(), "#SBATCH") == {
            "--job-name=hp-x-1-ingest",
            "--array=0-6%3",
            "--output=/run/logs/x.%a.out",
            "--open-mode=append",
            "--time=01:30:00",
            "--nodes=2",
            "--ntasks-per-node=4",
            "--cpus-per-task=2",
            "--mem=9000M",
            "--partition=rome",
            "--account=eo",
            "--signal=B:USR1@300",
            "--requeue",
            "--export=NONE",
        }

    def test_pbs_directives(self):
        assert directives(script(site=make_site("pbs")), "#PBS") == {
            "-N hp-x-1-ingest",
            "-J 0-6%3",
            "-j oe",
            "-k doe",
            "-o /run/logs/x.^array_index^.out",
            "-l walltime=01:30:00",
            "-l select=2:ncpus=8:mpiprocs=4:ompthreads=2:mem=9000mb",
            "-l place=scatter",
            "-q rome",
            "-A eo",
            "-r y",
            f"-W umask={umask()}",
        }

    @pytest.mark.parametrize(("mask", "told"), [(0o022, "22"), (0o007, "7"), (0o077, "77"), (0o000, "0"), (0o2, "2")])
    def test_pbs_jobs_have_the_umask_of_who_submits(self, mask, told):
        before = os.umask(mask)
        try:
            text = script(site=make_site("pbs"))
        finally:
            os.umask(before)
        assert f"-W umask={told}" in directives(text, "#PBS") and f"\numask {told}\n" in text
        assert "umask" not in script()

    def test_the_umask_of_a_site_is_left_alone(self):
        job = make_job(resources=replace(make_job().resources, directives=("-W umask=27",)))
        text = script(job, make_site("pbs"))
        assert "-W umask=27" in directives(text, "#PBS") and text.count("umask") == 1

    def test_a_single_element_is_no_array_on_pbs(self):
        assert not any(
            line.startswith("-J") for line in directives(script(make_job(count=1), make_site("pbs")), "#PBS")
        )

    def test_job_wide_pbs(self):
        text = script(site=make_site("pbs", job_wide=True, account={"option": "-P"}))
        lines = directives(text, "#PBS")
        assert {"-l ncpus=16", "-l mem=18000mb", "-P eo"} <= lines
        assert not any("select" in line for line in lines)

    def test_memory_and_gpus_as_the_site_wants_them(self):
        gpus = replace(make_job().resources, gpus=2, partition="g")
        job = make_job(resources=gpus)
        partition = {"name": "g", "gpus": 4, "gpu_request": "gres", "gpu_type": "a100"}
        lines = directives(script(job, make_site(memory_request="cpu", partitions=[partition])), "#SBATCH")
        assert {"--mem-per-cpu=1125M", "--gres=gpu:a100:2"} <= lines
        assert not any(
            "--mem" in line for line in directives(script(site=make_site(memory_request="none")), "#SBATCH")
        )

    @pytest.mark.parametrize("scheduler", ["slurm", "pbs", "local"])
    @pytest.mark.parametrize("stage", ["ingest", "gate", "sync"])
    def test_scripts_pass_shellcheck(self, scheduler, stage, tmp_path):
        if shutil.which("shellcheck") is None:
            pytest.skip("shellcheck is not installed")
        site = make_site(
            scheduler,
            modules=["2024", "it's Python"],
            environment={"A": "x y"},
            setup="export STARTED=1",
            mpi={"launcher": "mpirun", "flavour": "openmpi"},
        )
        path = tmp_path / "job.sh"
        path.write_text(script(make_job(stage=stage), site))
        subprocess.run(["shellcheck", "-S", "warning", path], check=True)

    @given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1, max_size=30))
    def test_whatever_a_path_holds_reaches_bash_unchanged(self, name):
        line = next(line for line in script(run=f"/a/{name}").split("\n") if line.startswith("run="))
        assert shlex.split(line) == [f"run={Path(f'/a/{name}')}"]
        done = subprocess.run(["bash", "-c", f'{line}\nprintf %s "$run"'], capture_output=True, check=True)
        assert done.stdout.decode() == str(Path(f"/a/{name}"))

    def test_line_breaks_are_refused(self):
        with pytest.raises(SubmissionError, match="line break"):
            script(run="/a\nb")

    def test_pbs_refuses_what_it_cannot_be_told(self):
        with pytest.raises(SubmissionError, match="PBS does not accept"):
            script(make_job(logs=Path("/my run/logs")), make_site("pbs"))

    def test_slurm_quotes_values_and_doubles_percent(self):
        job = make_job(logs=Path("/it's 5% of/logs"), resources=replace(make_job().resources, account='a "b" $(c)'))
        lines = directives(script(job), "#SBATCH")
        assert '--output="/it\'s 5%% of/logs/x.%a.out"' in lines
        assert '--account="a \\"b\\" $(c)"' in lines

    def test_a_campaign_may_bring_its_own_template(self, tmp_path):
        (tmp_path / "slurm.sh.j2").write_text("#!/bin/bash\n# mine: {{ job.name }}\n{% include 'body.sh.j2' %}\n")
        text = render(make_job(), make_site(), run=Path("/r"), submission=1, command=["hpckit"], folders=[tmp_path])
        assert "# mine: hp-x-1-ingest" in text and "hpckit" in text
        (tmp_path / "slurm.sh.j2").write_text("{{ nosuch }}")
        with pytest.raises(SubmissionError, match=r"slurm\.sh\.j2: the template cannot be filled in"):
            render(make_job(), make_site(), run=Path("/r"), submission=1, command=["hpckit"], folders=[tmp_path])

    def test_a_template_that_is_wrong_is_named_with_its_line(self, tmp_path):
        (tmp_path / "slurm.sh.j2").write_text("#!/bin/bash\n{% if %}\n")
        with pytest.raises(SubmissionError, match=r"slurm\.sh\.j2:2: the template is wrong"):
            render(make_job(), make_site(), run=Path("/r"), submission=1, command=["hpckit"], folders=[tmp_path])

    def test_a_scheduler_without_a_template_is_named(self, monkeypatch):
        monkeypatch.setattr(Slurm, "template", "nosuch.sh.j2")
        with pytest.raises(SubmissionError, match=r"nosuch\.sh\.j2: Slurm has no template"):
            script()

    def run_script(self, folder, *, output_is_there, code=0):
        (folder / "logs").mkdir()
        (folder / "run").mkdir()
        command = folder / "hpckit"
        command.write_text(f"#!/bin/bash\nexit {code}\n")
        command.chmod(0o755)
        job = make_job(logs=folder / "logs", script=folder / "x.sh", resources=Resources())
        text = render(job, make_site("pbs"), run=folder / "run", submission=1, command=[str(command)])
        output = folder / "logs" / "x.3.out"
        if output_is_there:
            output.write_text("so far\n")
        with (folder / "spooled").open("w") as spooled:
            environment = {**os.environ, "PBS_ARRAY_INDEX": "3"}
            subprocess.run(["bash"], input=text, text=True, env=environment, stdout=spooled, check=code == 0)
        return output.read_text()

    def test_where_pbs_keeps_the_output_the_last_word_is_on_the_shared_file_system_all_the_same(self, tmp_path):
        assert re.fullmatch(r"\S+Z exit code 75\n", self.run_script(tmp_path, output_is_there=False, code=75))
        assert "exit code 75" in (tmp_path / "spooled").read_text()

    def test_an_output_that_pbs_writes_itself_is_left_alone(self, tmp_path):
        assert self.run_script(tmp_path, output_is_there=True) == "so far\n"


class TestLaunch:
    @pytest.mark.parametrize(
        ("mpi", "word"),
        [
            ({"launcher": "mpirun", "flavour": "openmpi"}, "--hostfile"),
            ({"launcher": "mpiexec", "flavour": "mpich"}, "-machinefile"),
            ({"launcher": "mpirun"}, "-machinefile"),
        ],
    )
    def test_a_list_of_nodes_is_a_variable_of_the_job(self, mpi, word, tmp_path):
        options = ["-x", "A=$HOME/it's $(touch no)", "--dir=${TMPDIR}"]
        site = make_site("pbs", mpi={**mpi, "hostfile": "$PBS_NODEFILE", "options": options})
        line = next(line for line in script(site=site).splitlines() if line.startswith("launch="))
        code = f'{line}\nprintf "%s\\n" "${{launch[@]}}"'
        environment = {"PBS_NODEFILE": "/var/spool/aux/7 [2].vm", "HOME": "/h", "TMPDIR": "/t"}
        done = subprocess.run(["bash", "-uc", code], env=environment, cwd=tmp_path, capture_output=True, check=True)
        words = done.stdout.decode().splitlines()
        assert words[words.index(word) + 1] == "/var/spool/aux/7 [2].vm"
        assert words[-3:] == ["-x", "A=/h/it's $(touch no)", "--dir=/t"] and not list(tmp_path.iterdir())

    def test_srun_needs_no_list_of_nodes(self):
        with pytest.raises(ValueError, match=r"mpi\.hostfile"):
            make_site(mpi={"launcher": "srun", "hostfile": "$SLURM_JOB_NODELIST"})

    def test_a_single_rank_needs_no_launcher(self):
        assert launch(Mpi(launcher="srun"), Resources()) == []

    def test_without_mpi_the_worker_starts_processes(self):
        assert launch(Mpi(), Resources(ranks=8)) == [] and processes(Mpi(), Resources(ranks=8)) == 8
        assert processes(Mpi(launcher="srun"), Resources(ranks=8)) == 1

    @pytest.mark.parametrize("launcher", ["srun", "mpirun", "mpiexec"])
    def test_all_ranks_are_started(self, launcher):
        words = launch(Mpi(launcher=launcher, flavour="openmpi", options=["--x"]), Resources(nodes=3, ranks=8))
        assert words[0] == launcher and words[-1] == "--x"
        assert "--ntasks=24" in words or words[words.index("-n") + 1] == "24"


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(SchedulerError, match="no nosuchprogram on this machine"):
        LocalRunner(Local())(Command(("nosuchprogram",)))


def test_variables_that_change_what_is_asked_do_not_reach_the_scheduler(monkeypatch):
    monkeypatch.setenv("SBATCH_ARRAY_INX", "0-3")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    out = LocalRunner(Slurm())(Command(("env",), {"SLURM_BITSTR_LEN": "0"})).stdout.splitlines()
    assert "SLURM_CONF=/etc/slurm.conf" in out and "SLURM_BITSTR_LEN=0" in out
    assert not any(line.startswith("SBATCH_") for line in out)


def test_a_command_that_hangs_is_given_up():
    done = LocalRunner(Local(), timeout_s=0.2)(Command(("sleep", "5")))
    assert done.code == 124
    with pytest.raises(SchedulerUnavailableError):
        Slurm().read_query(done)


@pytest.mark.parametrize("name", ["slurm", "pbs", "local"])
def test_each_scheduler_is_found_by_its_name(name):
    assert scheduler_of(make_site(name)).name == name


@pytest.mark.parametrize(
    "text", ["{{ ''.__class__.__mro__ }}", "{{ job.__init__.__globals__ }}", "{{ [].append.__self__ }}"]
)
def test_templates_run_no_python(text):
    from jinja2.exceptions import TemplateError

    from hpckit.sites.jobscript.script import _environment

    with pytest.raises(TemplateError):
        _environment(Slurm(), ()).from_string(text).render(job=object)


def test_no_scheduler_is_named_outside_its_room():
    """Where schedulers differ, their classes are asked."""
    package = Path(hpckit.__file__).parent
    names = ("slurm", "pbs", "Slurm", "PBS", "sbatch", "qsub")
    elsewhere = (path for path in package.rglob("*.py") if not path.is_relative_to(package / "sites" / "scheduler"))
    texts = {path: path.read_text() for path in elsewhere}
    found = [
        f"{path.relative_to(package)}:{node.lineno}"
        for path, text in texts.items()
        if any(name in text for name in names)  # to parse all files takes seconds
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert not found
