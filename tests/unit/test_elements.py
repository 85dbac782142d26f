"""Packing units into elements, and the file in which elements find them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.cubes.ingest_stage import Ingest
from hpckit.errors import PlanError, SiteError, SubmissionError
from hpckit.jobs.elements import Element, pack, read_element, read_membership, walltime, write_elements
from hpckit.jobs.jobarrays import Request, jobs, lay_out, require_known, require_mail
from hpckit.production.fetch_stage import Fetch
from hpckit.reduce.composites.stage import Composites, Export
from hpckit.reduce.signatures.inputs import ZoneInputs
from hpckit.reduce.signatures.stage import Signatures
from hpckit.reduce.signatures.zone_stage import Zones
from hpckit.runs.plan import Unit
from hpckit.sites.site import Site
from hpckit.submissions.submission import create

HOUR = 3600


def units(costs, stage="ingest", tiles=3) -> list[Unit]:
    return [
        Unit(f"{stage}/{number:06d}", stage, cost, "in", {"tile": f"31UF{'ABCDEFGH'[number * tiles // len(costs)]}"})
        for number, cost in enumerate(costs)
    ]


KINDS = [Fetch(()), Ingest(), Zones(ZoneInputs()), Signatures(ZoneInputs()), Composites(), Export()]


def lay(todo, site, request=Request(), *, memory=2**29, cuda=False):  # noqa: B008
    work = [(stage, todo[stage.name], memory) for stage in KINDS if stage.name in todo]
    return lay_out(work, site, request, cuda=cuda)


def make_site(**fields) -> Site:
    partition = {"name": "p", "cores": 16, "memory_mib": 64_000, "walltime": "24h"}
    return Site.model_validate({"name": "s", "scheduler": "slurm", "partitions": [partition], **fields})


def laid(count=1000, cost=100.0, *, memory=2**29, request=Request(), cuda=False, **fields):  # noqa: B008
    return lay({"ingest": units([cost] * count)}, make_site(**fields), request, memory=memory, cuda=cuda)


@given(
    st.lists(st.floats(0.01, 5000), min_size=1, max_size=300),
    st.integers(1, 64),
    st.floats(1, 1e5),
    st.one_of(st.none(), st.integers(1, 50)),
)
def test_every_unit_is_in_exactly_one_element(costs, ranks, target, most):
    packed = pack(units(costs), ranks=ranks, target_s=target, most=most)
    ids = [unit.id for element in packed for unit in element.units]
    assert sorted(ids) == [unit.id for unit in units(costs)]
    assert all(element.units for element in packed)
    assert most is None or len(packed) <= most
    for element in packed:
        assert element.cost == pytest.approx(sum(unit.cost for unit in element.units))
        shown = [round(unit.cost, 1) for unit in element.units]
        assert shown == sorted(shown, reverse=True)


@pytest.mark.parametrize(
    ("scheduler", "directives"),
    [
        ("slurm", ("--mail-type=END,FAIL", "--mail-user=gis@agency.example")),
        ("pbs", ("-m ae", "-M gis@agency.example")),
    ],
)
def test_the_last_jobs_alone_send_mail(tmp_path: Path, scheduler: str, directives: tuple[str, ...]) -> None:
    site, request = make_site(scheduler=scheduler), Request(mail="gis@agency.example")
    layout = laid(scheduler=scheduler)
    for sync, last in ((True, "sync"), (False, layout.stages[-1].stage)):
        made = jobs(layout, site, request, tmp_path, "run", 1, sync=sync)
        mailing = {job.stage for job in made if job.resources.directives[-2:] == directives}
        assert mailing == {last}
    for address in ("gis", "a b@c.example", "a@b.example\n#SBATCH --x", "a@b,c@d"):
        with pytest.raises(PlanError, match="is no mail address"):
            require_mail(site, address)
    with pytest.raises(PlanError, match="sends no mail"):
        require_mail(make_site(scheduler="local"), "gis@agency.example")


def test_the_folder_of_a_submission_that_was_killed_at_its_begin_is_used_again(tmp_path: Path) -> None:
    first = create(tmp_path)
    (first / "elements.parquet").touch()
    assert create(tmp_path) == first


def test_elements_end_together():
    generator = random.Random(1)
    costs = [generator.lognormvariate(3, 1) for _ in range(20_000)]
    packed = pack(units(costs), ranks=8, target_s=1000, most=None)
    loads = [element.cost for element in packed]
    assert len(packed) > 50
    assert max(loads) - min(loads) <= max(*costs, sum(costs) / len(packed) / 16)


def test_units_of_a_tile_stay_together_where_costs_are_even():
    packed = pack(units([10.0] * 3000, tiles=3), ranks=1, target_s=1000, most=None)
    tiles = [len({unit.args["tile"] for unit in element.units}) for element in packed]
    chunks = [len(element.units) for element in packed]
    assert sum(tiles) / len(tiles) < 3.01 and max(chunks) <= 102


@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=60), st.integers(1, 16))
def test_makespan_bounds_any_greedy_schedule(costs, ranks):
    element = pack(units(costs), ranks=ranks, target_s=1e9, most=1)[0]
    ends = [0.0] * ranks
    for unit in element.units:
        first = ends.index(min(ends))
        ends[first] += unit.cost
    assert max(ends) <= element.makespan(ranks) * (1 + 1e-9)


def test_walltime_has_room_and_a_limit():
    elements = [Element(tuple(units([HOUR])), HOUR)]
    assert walltime(elements, 1, None, "p", "do less") >= 1.5 * HOUR
    assert walltime(elements, 1, 4000, "p", "do less") == 4000
    with pytest.raises(PlanError, match=r"ingest/000000 .* longer than the 30 min 00 s that p allows"):
        walltime(elements, 1, 1800, "p", "do less")


@pytest.mark.slow
def test_elements_read_their_own_units(tmp_path):
    many = pack(units([5.0] * 30_000), ranks=1, target_s=50, most=None)
    more = pack(units([5.0] * 40, "signatures"), ranks=1, target_s=50, most=None)
    path = tmp_path / "elements.parquet"
    write_elements(path, {"ingest": many, "signatures": more})
    for number in (0, 1, len(many) // 2, len(many) - 1):
        assert read_element(path, "ingest", number) == list(many[number].units)
    assert read_element(path, "signatures", 2) == list(more[2].units)
    assert len({unit for _, _, unit, _ in read_membership(path)}) == 30_040
    with pytest.raises(SubmissionError, match="no element 99999"):
        read_element(path, "ingest", 99999)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SubmissionError, match="damaged"):
        read_element(path, "ingest", 0)


def test_limits_of_the_site_shape_the_arrays(tmp_path):
    layout = laid(request=Request(most_elements=25), arrays={"max_size": 10, "throttle": 9})
    made = jobs(layout, make_site(arrays={"max_size": 10}), Request(), tmp_path, "run", 1, sync=True)
    arrays = [job for job in made if job.stage == "ingest"]
    covered = [job.first + index for job in arrays for index in range(job.count)]
    assert covered == list(range(layout.stages[0].elements))
    assert all(job.count <= 10 for job in arrays)
    assert sum(job.throttle or job.count for job in arrays) <= 9
    assert len({job.name for job in made}) == len({job.script for job in made}) == len(made)
    assert made[-1].stage == "sync" and made[-1].follows == ("ingest",)


@pytest.mark.slow
def test_a_partition_s_share_of_submitted_jobs_is_kept():
    partition = {"name": "p", "cores": 4, "memory_mib": 64_000, "walltime": "24h", "max_submitted": 20}
    layout = laid(partitions=[partition], stages={"default": {"walltime": "1h"}})
    assert layout.stages[0].elements <= 18
    partition["walltime"] = "10min"
    with pytest.raises(PlanError, match=r"all that the limits of jobs allow"):
        laid(100_000, partitions=[partition])


def test_memory_decides_how_many_ranks_fit():
    layout = laid(memory=20 * 2**30)
    resources = layout.stages[0].resources
    assert resources.ranks == 2 and resources.memory_mib <= 64_000
    with pytest.raises(PlanError, match=r"stage ingest needs memory of .* where partition p has 62\.5 GiB"):
        laid(memory=80 * 2**30)


def test_gpus_only_where_asked():
    assert laid().stages[0].resources.gpus == 0
    nodes = [
        {"name": "cpu", "cores": 8, "walltime": "24h"},
        {"name": "gpu", "cores": 8, "gpus": 4, "walltime": "24h"},
    ]
    reduce = lay({"signatures": units([1.0] * 9, "signatures")}, make_site(partitions=nodes), cuda=True)
    assert (reduce.stages[0].resources.gpus, reduce.stages[0].resources.partition) == (1, "gpu")
    assert laid(partitions=nodes).stages[0].resources.partition == "cpu"
    with pytest.raises(SiteError, match="no partition with GPUs"):
        lay({"signatures": units([1.0], "signatures")}, make_site(), cuda=True)


def test_accounts_and_partitions_are_asked_for():
    with pytest.raises(SiteError, match="wants an account"):
        laid(account={"required": True})
    assert laid(account={"required": True}, request=Request(account="a b")).stages[0].resources.account == "a b"
    with pytest.raises(SiteError, match="no partition 'q'") as caught:
        laid(request=Request(partition="q"))
    assert "it has p" in caught.value.hint


def test_a_retry_raises_but_never_lowers():
    more = laid(request=Request(memory_mib={"ingest": 5000}, walltime_s={"ingest": 20 * HOUR}))
    resources = more.stages[0].resources
    assert resources.memory_mib // resources.ranks == 5000 and resources.walltime_s == 20 * HOUR
    less = laid(request=Request(memory_mib={"ingest": 1}, walltime_s={"ingest": 1}))
    assert less.stages[0].resources == laid().stages[0].resources


def test_stages_that_map_one_to_one_are_packed_alike(tmp_path):
    todo = {"ingest": units([100.0] * 900, tiles=8), "signatures": units([10.0] * 80, "signatures", tiles=8)}
    site = make_site(stages={"default": {"ranks": 1, "walltime": "5h"}}, arrays={"max_size": 2})
    layout = lay(todo, site, Request(chain="elements"))
    for one, other in zip(layout.elements["ingest"], layout.elements["signatures"], strict=True):
        assert {unit.args["tile"] for unit in one.units} == {unit.args["tile"] for unit in other.units}
    made = jobs(layout, site, Request(), tmp_path, "run", 1, sync=False)
    names = {job.name: job for job in made}
    mirrored = [job for job in made if job.mirrors]
    assert len(mirrored) > 1 and all(names[job.mirrors].count == job.count for job in mirrored)
    assert not any(job.stage == "gate" for job in made)
    todo["signatures"] = todo["signatures"][:10]
    with pytest.raises(PlanError, match="do not match one to one"):
        lay(todo, site, Request(chain="elements"))


def test_composites_wait_for_ingest_and_files_for_composites(tmp_path):
    stages = ("ingest", "zones", "signatures", "composites", "export")
    todo = {stage: units([100.0] * 8, stage, tiles=2) for stage in stages}
    site = make_site(stages={"composites": {"ranks": 2}})
    layout = lay(todo, site)
    made = {job.stage: job for job in jobs(layout, site, Request(), tmp_path, "run", 1, sync=True)}
    assert made["composites"].follows == ("ingest",) and made["export"].follows == ("composites",)
    assert set(made["gate"].follows) == {"ingest", "zones"}
    assert set(made["sync"].follows) == {"signatures", "export"}
    alone = lay({"composites": todo["composites"]}, site)
    (only,) = jobs(alone, site, Request(), tmp_path, "run", 1, sync=False)
    assert only.follows == ()


def test_a_site_that_names_no_stage_is_told_which_there_are():
    stages = [stage.name for stage in KINDS]
    for name, meant in (
        ("reduce", "signatures"),
        ("index", "zones"),
        ("ingst", "ingest"),
        ("composite", "composites"),
    ):
        with pytest.raises(SiteError, match=rf"stages\.{name}: there is no such stage") as caught:
            require_known(make_site(stages={name: {"ranks": 2}}), stages)
        assert f"did you mean {meant}?" in caught.value.hint
    named = ("default", "exec", "exec-filter", "gate", "sync", "signatures")
    require_known(make_site(stages={name: {"ranks": 2} for name in named}), stages)


TRANSFER = [
    {"name": "p", "cores": 16, "memory_mib": 64_000, "walltime": "24h"},
    {"name": "copy", "cores": 1, "walltime": "10h", "network": True},
    {"name": "other", "cores": 4},
]


@pytest.mark.parametrize(
    ("stages", "partition", "throttle", "ranks"),
    [
        ({}, "copy", 1, 1),
        ({"default": {"ranks": 1, "partition": "p"}}, "p", 1, 1),
        ({"fetch": {"partition": "other", "throttle": 3, "ranks": 2}}, "other", 3, 2),
    ],
)
def test_what_fetches_has_the_network_and_comes_before_what_decodes(tmp_path, stages, partition, throttle, ranks):
    site = make_site(partitions=TRANSFER, stages=stages)
    todo = {name: units([7000.0] * 5, name) for name in ("fetch", "ingest", "signatures")}
    layout = lay(todo, site, Request(partition="p"))
    first = layout.stages[0]
    assert (first.stage, first.resources.partition, first.throttle) == ("fetch", partition, throttle)
    assert first.resources.ranks == ranks and layout.stages[1].resources.partition == "p"
    made = jobs(layout, site, Request(), tmp_path, "run", 1, sync=True)
    follows = {job.stage: set(job.follows) for job in made}
    assert follows["fetch"] == set() and follows["ingest"] == {"fetch"} and {"fetch", "ingest"} <= follows["gate"]
    assert all(job.throttle == throttle or job.count <= throttle for job in made if job.stage == "fetch")
