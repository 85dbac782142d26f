"""Site files: those that come with hpckit, faults in others, and what probes make of schedulers' answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hpckit.cubes.ingest_stage import Ingest
from hpckit.errors import SiteError
from hpckit.jobs.jobarrays import Request, lay_out
from hpckit.runs.plan import Unit
from hpckit.sites.jobscript.script import render
from hpckit.sites.parts import Identify, Partition
from hpckit.sites.places import shipped_folder, site_files
from hpckit.sites.probe.compare import compare
from hpckit.sites.probe.here import flavour, module_system, parallel_file_systems, read_mpirun
from hpckit.sites.probe.sitefile import site_file
from hpckit.sites.scheduler.facts import Facts
from hpckit.sites.scheduler.model import Answer, Job
from hpckit.sites.scheduler.pbs import probe as pbs
from hpckit.sites.scheduler.slurm import Slurm
from hpckit.sites.scheduler.slurm import probe as slurm
from hpckit.sites.site import find_site, load_site

SHIPPED = sorted(shipped_folder().glob("*.yaml"))
EXPECTED = {
    "snellius", "spider", "vsc5", "aris", "metacentrum", "gadi", "lumi", "lotus2", "karolina", "raven", "cirrus",
    "slurm-generic", "pbs-generic", "localhost", "sram-slurm",
}  # fmt: skip


def test_all_sites_are_there():
    assert {path.stem for path in SHIPPED} == EXPECTED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_site_is_valid_and_runs_a_campaign_s_scripts(path, tmp_path):
    site = load_site(path)
    assert site.name == path.stem and (site.title or site.name)
    units = [Unit(f"ingest/{n}", "ingest", 600.0, "in", {"tile": "31UFU"}) for n in range(3000)]
    layout = lay_out([(Ingest(), units, 300 * 2**20)], site, Request(account="eo"), cuda=False)
    stage = layout.stages[0]
    job = Job("hp-1", "ingest", tmp_path / "j.sh", Path("/scratch/logs"), stage.resources, count=stage.elements)
    text = render(job, site, run=Path("/scratch/c.run"), submission=1, command=["hpckit"])
    script = tmp_path / "j.sh"
    script.write_text(text)
    subprocess.run(["bash", "-n", script], check=True)
    if site.name == "gadi":
        assert "#PBS -P eo" in text and "#PBS -l ncpus=48" in text and "#PBS -J" not in text


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_values_of_real_clusters_have_sources(path):
    text = path.read_text()
    if path.stem not in ("localhost", "slurm-generic", "pbs-generic"):
        assert "Source" in text.split("name:")[0]


def write(folder: Path, text: str, name: str = "my.yaml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: a\nscheduler: sulrm\n",
            r"my\.yaml:2: scheduler: there is no scheduler 'sulrm'; there are slurm, pbs",
        ),
        ("name: a\n", r"scheduler: this field is missing"),
        ("name: a\nscheduler: slurm\npartitons: []\n", r":3: partitons: unknown field; did you mean 'partitions'"),
        ("name: a\nscheduler: slurm\npartitions:\n- {name: p, walltime: 1 fortnight}\n", r":4: .*walltime: .*90min"),
        ("name: a\nscheduler: slurm\npartitions:\n- {name: p}\n- {name: p}\n", "two partitions have the same name"),
        (
            "name: a\nscheduler: slurm\npartitions: [{name: p}]\nstages: {signatures: {partition: q}}\n",
            "lacks .it has p",
        ),
        (
            "name: a\nscheduler: pbs\nmpi: {launcher: srun}\n",
            "srun is of another scheduler; PBS",
        ),
        ("name: a\nscheduler: slurm\nlogin: {host: h, user: 'x-{name}'}\n", "unknown word"),
        ('name: a\nscheduler: slurm\ndirectives: ["a\\nb"]\n', "directives"),
        ("name: a\nscheduler: slurm\nenvironment: {'A B': c}\n", "environment"),
        ("- a\n", "a site file is a mapping"),
        ("name: [\n", "not valid YAML"),
    ],
)
def test_faults_name_line_field_and_remedy(tmp_path, text, message):
    with pytest.raises(SiteError, match=message):
        load_site(write(tmp_path, text))


def test_nearer_files_hide_others(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write(
        tmp_path / "config" / "hpckit" / "sites", "name: snellius\nscheduler: slurm\ntitle: mine\n", "snellius.yaml"
    )
    assert find_site("snellius").title == "mine"
    write(tmp_path / "campaign", "name: snellius\nscheduler: slurm\ntitle: of the campaign\n", "snellius.yaml")
    write(tmp_path / "campaign", "name: no site\naoi: x\n", "campaign.yaml")
    assert find_site("snellius", [tmp_path / "campaign"]).title == "of the campaign"
    assert "campaign" not in site_files([tmp_path / "campaign"])
    with pytest.raises(SiteError, match="no site 'snelius'") as caught:
        find_site("snelius")
    assert caught.value.hint == "did you mean 'snellius'?"


def test_a_site_recognises_its_hosts():
    assert Identify(hostname="int[0-9]").matches("int5.snellius", {})
    assert not Identify(hostname="int[0-9]").matches("login.int5", {})
    assert not Identify().matches("anything", {})
    assert Identify(environment={"CLUSTER": "*"}).matches("x", {"CLUSTER": "y"})


class TestSlurmProbe:
    CONFIG = (
        "Configuration data as of 2026-11-21\nMaxArraySize            = 1001\nSelectTypeParameters    = CR_CORE\n"
    )
    NODES = (
        "rome|2:64:1|229376|5-00:00:00|(null)|521|NO|1-infinite\n"
        "rome|2:64:2|460000|5-00:00:00|(null)|3|NO|1-infinite\n"
        "gpu|2:36:1|491520+|30:00|gpu:a100:4(S:0-1)|36|EXCL|1-8\n"
        "open|1:4:1|8000|infinite|(null)|2|NO|1-infinite\n"
    )

    def test_configuration(self):
        assert slurm.read_config(self.CONFIG)["MaxArraySize"] == "1001"

    def test_partitions_are_those_of_most_nodes_the_default_first(self):
        found = {partition.name: partition for partition in slurm.read_partitions(self.NODES, "gpu* rome open")}
        assert next(iter(found)) == "gpu"
        assert (found["rome"].cores, found["rome"].memory_mib, found["rome"].walltime) == (128, 229376, 432000)
        assert (found["gpu"].gpus, found["gpu"].gpu_type, found["gpu"].max_nodes) == (4, "a100", 8)
        assert found["gpu"].exclusive and found["gpu"].walltime == 1800 and found["gpu"].memory_mib == 491520
        assert found["open"].walltime is None

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            (
                "MPI plugin types are...\n\tcray_shasta\n\tnone\n\tpmi2\n\tpmix\n",
                ["cray_shasta", "none", "pmi2", "pmix"],
            ),
            ("srun: MPI types are...\nsrun: pmix_v4\nsrun: pmi2\n", ["pmi2", "pmix_v4"]),
        ],
    )
    def test_mpi_flavours(self, text, names):
        assert slurm.read_mpi(text) == names

    RULES = (
        "PartitionName=zen3 AllowAccounts=ALL AllowQos=zen3_0512,zen3_devel State=UP RootOnly=NO MaxMemPerCPU=4000\n"
        "PartitionName=closed AllowAccounts=staff AllowQos=ALL State=UP RootOnly=NO\n"
        "PartitionName=down AllowAccounts=ALL AllowQos=ALL State=DOWN RootOnly=NO\n"
    )

    def test_a_partition_that_wants_a_qos_names_it_and_takes_its_limits(self):
        mine = slurm.read_associations("p70001|zen3_0512,normal|normal||\np70002|normal|normal|50|\n")
        limits = slurm.read_qos("zen3_0512|3-00:00:00|400|\nnormal|||\n")
        zen3 = Partition(name="zen3", cores=128, memory_mib=10**6, walltime=864000)
        found, why = slurm.apply_rules(zen3, slurm.read_rules(self.RULES)["zen3"], mine, limits)
        assert not why and (found.qos, found.walltime, found.max_submitted) == ("zen3_0512", 259200, 400)
        assert found.memory_mib == 128 * 4000

    @pytest.mark.parametrize(("name", "why"), [("closed", "only for accounts staff"), ("down", "state DOWN")])
    def test_partitions_that_take_no_jobs_say_why(self, name, why):
        mine = slurm.read_associations("p70001|normal|normal||\n")
        assert slurm.apply_rules(Partition(name=name), slurm.read_rules(self.RULES)[name], mine, {})[1] == why

    def test_arrays_are_bounded_by_tasks_too(self):
        config = {"MaxArraySize": "1001", "SchedulerParameters": "bf_max_job_test=50,max_array_tasks=300"}
        assert slurm.read_array_size(config) == 300
        assert slurm.read_array_size({"MaxArraySize": "1001"}) == 1001 and slurm.read_array_size({}) is None


@pytest.mark.parametrize(
    ("text", "cores"), [("12/52/0/64\n", 52), ("1/2/0/3\n4/5/6/15\n", 7), ("", None), ("n/a\n", None)]
)
def test_free_cores_of_slurm(text, cores):
    asked = Slurm().free_cores("short")
    assert asked.argv == ("sinfo", "-h", "-o", "%C", "-p", "short")
    assert Slurm().read_free_cores(Answer(asked, 0, text, "")) == cores


class TestPbsProbe:
    QUEUES = """Queue: workq
    queue_type = Execution
    resources_max.walltime = 48:00:00
    resources_max.ncpus = 16
    max_queued = [u:PBS_GENERIC=300]
    enabled = True
    started = True

Queue: closed
    enabled = False
    started = True
"""
    NODES = """n1
     Mom = n1
     resources_available.mem = 16384000kb
     resources_available.ncpus = 32

n2
     resources_available.mem = 16384000kb
     resources_available.ncpus = 32
"""

    def test_queues_and_nodes(self):
        queues = pbs.read_queues(self.QUEUES)
        assert list(queues) == ["workq", "closed"] and queues["workq"]["resources_max.walltime"] == "48:00:00"
        assert pbs.read_nodes(self.NODES) == [pbs.Node(32, 16000), pbs.Node(32, 16000)]

    def test_a_queue_has_what_its_nodes_have_within_its_limits_and_the_servers(self):
        queues, nodes = pbs.read_queues(self.QUEUES), pbs.read_nodes(self.NODES)
        server = pbs.read_server("Server: pbs1\n    max_queued = [u:PBS_GENERIC=900],[u:ada=200]\n")
        found = pbs.read_partition("workq", queues["workq"], server, nodes, "ada")
        assert (found.cores, found.memory_mib, found.walltime, found.max_submitted) == (16, 16000, 172800, 200)
        assert pbs.read_partition("workq", queues["workq"], server, nodes, "bob").max_submitted == 300
        assert server["Server"] == "pbs1"

    def test_virtual_nodes_of_a_host_are_one_and_nodes_that_are_down_are_none(self):
        node = "{name}\n     state = {state}\n     resources_available.host = {host}\n"
        node += "     resources_available.mem = 1048576kb\n     resources_available.ncpus = 8\n\n"
        names = [("g1[0]", "free", "g1"), ("g1[1]", "job-busy", "g1"), ("g2", "down,offline", "g2")]
        text = "".join(node.format(name=name, state=state, host=host) for name, state, host in names)
        assert pbs.read_nodes(text) == [pbs.Node(16, 2048)]

    def test_free_cores_are_those_of_nodes_that_take_jobs_less_the_assigned_ones(self):
        node = "{name}\n     state = {state}\n     resources_available.ncpus = 32\n"
        node += "     resources_assigned.ncpus = {used}\n\n"
        nodes = [("n1", "free", 0), ("n2", "free", 20), ("n3", "job-busy", 32), ("n4", "offline", 0)]
        assert pbs.read_free_cores("".join(node.format(name=n, state=s, used=u) for n, s, u in nodes)) == 44
        assert pbs.read_free_cores(self.NODES) == 64 and pbs.read_free_cores("") is None

    def test_torque_is_refused_also_by_what_its_server_says(self):
        with pytest.raises(SiteError, match="Torque"):
            pbs.require_pbs("pbs_version = 6.1.3")

    def test_torque_is_refused(self):
        assert pbs.require_pbs("pbs_version = 23.06.06\n") == "23.06.06"
        with pytest.raises(SiteError, match="runs Torque, which is not supported"):
            pbs.require_pbs("Version: 6.1.2\nCommit: 661e092552de43a785c15d39a3634a541d86898e\n")


def facts() -> Facts:
    found = Facts("slurm", "23.02.6", array_size=1001, accounts=["eo"], launchers=["srun"], mpi_flavours=["pmix_v4"])
    found.partitions = [Partition(name="rome", cores=128, memory_mib=229376, walltime=432000)]
    return found


def test_what_a_probe_writes_is_a_site_that_passes_its_check(tmp_path):
    site = load_site(write(tmp_path, site_file(facts(), "my")))
    assert all(finding.ok is not False for finding in compare(site, facts()))
    assert site.arrays.max_size == 1001 and site.partitions[0].walltime == 432000


def test_what_does_not_match_is_found_with_a_remedy(tmp_path):
    text = """name: my
scheduler: slurm
partitions:
- {name: rome, cores: 192, memory_mib: 229376, walltime: 10d}
- {name: genoa}
arrays: {max_size: 5000}
account: {default: other}
mpi: {launcher: srun, options: [--mpi=pmi2]}
command: /nowhere/hpckit
storage: {scratch: /nowhere/scratch}
"""
    found = {finding.what: finding for finding in compare(load_site(write(tmp_path, text)), facts())}
    wrong = {what for what, finding in found.items() if finding.ok is False}
    assert wrong == {
        "partition rome: cores",
        "partition rome: walltime",
        "partition genoa",
        "arrays.max_size",
        "account",
        "mpi.options",
        "hpckit on the nodes",
        "storage.scratch",
    }
    assert all(found[what].remedy for what in wrong)


def test_closed_partitions_and_missing_commands_are_findings(tmp_path):
    told = facts()
    told.closed, told.missing = {"genoa": "state DOWN"}, ["sacct"]
    text = "name: my\nscheduler: slurm\npartitions: [{name: rome}, {name: genoa}]\n"
    wrong = [item for item in compare(load_site(write(tmp_path, text)), told) if item.ok is False]
    assert {"partition genoa": "state DOWN", "commands that are missing": "sacct"}.items() <= {
        item.what: item.says for item in wrong
    }.items()
    written = site_file(told, "my")
    assert "# takes no jobs of yours: genoa (state DOWN)" in written


def test_programs_of_a_machine():
    assert module_system({}) == "" and module_system({"MODULESHOME": "/m"}).startswith("Environment Modules")
    assert flavour(read_mpirun("mpirun (Open MPI) 5.0.3\n")) == "openmpi"
    assert flavour(read_mpirun("HYDRA build details:\n    Version:    4.0.2\n")) == "mpich"
    assert flavour(read_mpirun("no such thing")) is None


def test_parallel_file_systems():
    text = "1.2.3.4@o2ib:/w /work lustre rw\nfs1 /gpfs/data gpfs rw\nhome:/h /home nfs4 rw\n/dev/vda / ext4 rw"
    assert parallel_file_systems(text) == {"/work": "lustre", "/gpfs/data": "gpfs", "/home": "nfs"}


def call(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "hpckit", "site", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_command_line(tmp_path):
    assert "SURF Snellius" in call("list").stdout
    assert "gpu_a100" in call("show", "snellius").stdout
    assert call("show", "snellius", "--file").stdout == (shipped_folder() / "snellius.yaml").read_text()
    good, bad = (
        write(tmp_path, "name: a\nscheduler: slurm\n", "a.yaml"),
        write(tmp_path, "name: b\nsched: x\n", "b.yaml"),
    )
    done = call("validate", str(good), str(bad))
    assert done.returncode == 1 and "a.yaml: valid" in done.stdout and "did you mean 'scheduler'" in done.stderr
    alone = call("probe", PATH=str(Path(sys.executable).parent))
    assert alone.returncode == 1 and "no scheduler on this machine" in alone.stderr
