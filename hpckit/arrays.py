"""From a plan to the job arrays of a site: what elements ask for, how many there are, and what follows what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from hpckit.elements import Element, pack, pack_as, walltime
from hpckit.errors import PlanError, SiteError
from hpckit.plan import Stage, Unit, tiles_of
from hpckit.quantities import format_bytes, format_duration
from hpckit.scheduler.model import Job, Resources
from hpckit.site import Partition, Site, StageRequest
from hpckit.steps.settings import Step, is_step
from hpckit.submission import StageLayout, job_name

_TARGET_S: Final = 2 * 3600
_RANKS: Final = 16
"""Ranks of an element where nobody says: a share of a node that queues everywhere."""
_MEMORY_ROOM: Final = 1.3
"""Memory asked for over that estimated."""
_MEMORY_STEP_MIB: Final = 128
_HELPER: Final = Resources(memory_mib=2048, walltime_s=1800)
"""Of a gate, and of a sync that runs as a job."""
_UNKNOWN_ARRAY_SIZE: Final = {"slurm": 1001, "pbs": 10_000, "local": 100_000}
"""What the schedulers have unless their administrators say otherwise."""
_UNKNOWN_SUBMIT_LIMIT: Final = 10_000
"""Slurm's MaxJobCount, of all users."""


_AFTER: Final[Mapping[str, tuple[str, ...]]] = {"composite": ("ingest",), "export": ("composite",)}
"""What composites wait for, beside zones and their statistics."""

Chain = Literal["stages", "elements"]
"""What waits for what: reduce for all of ingest and a gate, or each element of reduce for its namesake of ingest."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked for on top of the site file, or what a retry found necessary."""

    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    memory_mib: Mapping[str, int] | None = None
    """Per rank, by stage: at least so much."""
    walltime_s: Mapping[str, int] | None = None
    """By stage: at least so much."""
    most_elements: int | None = None
    """Of a stage."""
    chain: Chain = "stages"


@dataclass(frozen=True, slots=True)
class Layout:
    """Elements and jobs of a submission, before anything is written."""

    stages: tuple[StageLayout, ...]
    elements: Mapping[str, Sequence[Element]]
    chain: Chain = "stages"
    after: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(_AFTER))
    """Stages that a stage waits for without a gate."""

    @property
    def core_hours(self) -> float:
        """Expected core-hours of work."""
        return sum(stage.core_s for stage in self.stages) / 3600

    def node_hours(self, site: Site) -> float:
        """Expected node-hours that the elements occupy; shares of nodes that are shared count as shares."""
        return sum(_occupied(stage, site) for stage in self.stages) / 3600

    @property
    def elapsed_s(self) -> float:
        """Expected seconds from the first start to the last end, if all elements that may run at a time do."""
        return sum(stage.makespan_s * _rounds(stage) for stage in self.stages)


def lay_out(
    units: Mapping[Stage, Sequence[Unit]],
    memory: Mapping[Stage, int],
    site: Site,
    request: Request,
    *,
    cuda: bool,
    steps: Sequence[Step] = (),
) -> Layout:
    """Decide what the elements of each stage are and ask for.

    Parameters
    ----------
    units : mapping
        Units to do by stage, stages and units in the order of the plan.
    memory : mapping
        Bytes that one process of a stage needs at most, as estimated.
    cuda : bool
        Whether the reductions ask for a GPU.
    steps : sequence of Step
        Those of the campaign.

    Raises
    ------
    PlanError
        If a stage cannot fit into any walltime, memory or number of jobs that the site allows.
    SiteError
        If a partition is unknown, or an account is missing.
    """
    busy = [stage for stage in units if units[stage]]
    step_of = {step.stage: step for step in steps}
    together = _tiles_together(units, site, request) if request.chain == "elements" else None
    stages: list[StageLayout] = []
    elements: dict[str, Sequence[Element]] = {}
    for stage in busy:
        gpu = cuda and stage in ("reduce", "composite")
        step = step_of.get(stage)
        resources = _resources(stage, len(units[stage]), memory[stage], site, request, gpu=gpu, step=step)
        partition = site.partition(resources.partition or None)
        most = _most_elements(site, partition, request, len(busy))
        packed = pack(units[stage], ranks=resources.ranks_in_all, target_s=resources.walltime_s, most=most)
        if together is not None and stage in ("ingest", "reduce"):
            packed = pack_as(together, units[stage])
        limit, what = partition.walltime, f"partition {partition.name}" if partition.name else "the site"
        wanted = walltime(packed, resources.ranks_in_all, limit, what)
        wanted = max(wanted, (request.walltime_s or {}).get(stage, 0))
        makespan = max(element.makespan(resources.ranks_in_all) for element in packed)
        _require_walltime(stage, makespan, limit, most, what)
        resources = replace(resources, walltime_s=wanted if limit is None else min(wanted, limit))
        core_s = sum(element.cost for element in packed)
        throttle = _throttle(site, _asked(site, stage), partition)
        stages.append(StageLayout(stage, len(packed), len(units[stage]), core_s, makespan, resources, throttle))
        elements[stage] = packed
    waits = {step.stage: (step.waits_for,) if step.waits_for else () for step in steps}
    return Layout(tuple(stages), elements, request.chain, {**_AFTER, **waits})


def _tiles_together(units: Mapping[Stage, Sequence[Unit]], site: Site, request: Request) -> list[frozenset[str]]:
    """Tiles of each element, the same for ingest and reduce.

    Raises
    ------
    PlanError
        If stages do not map one to one.
    """
    tiles = [{tile for unit in units.get(stage, ()) for tile in tiles_of(unit)} for stage in ("ingest", "reduce")]
    if tiles[0] != tiles[1] or any(len(tiles_of(unit)) > 1 for unit in units.get("reduce", ())):
        raise PlanError(
            "elements of ingest and reduce do not match one to one: not the same tiles are to be done in both, or "
            "zones are answered for by several tiles together",
            hint="use --chain stages",
        )
    costs: dict[str, float] = {}
    for unit in (*units["ingest"], *units["reduce"]):
        costs[tiles_of(unit)[0]] = costs.get(tiles_of(unit)[0], 0.0) + unit.cost
    whole = [Unit(tile, "ingest", cost, "", {"tile": tile}) for tile, cost in sorted(costs.items())]
    resources = _resources("ingest", len(units["ingest"]), 2**20, site, request, gpu=False)
    most = _most_elements(site, site.partition(resources.partition or None), request, 2)
    packed = pack(whole, ranks=resources.ranks_in_all, target_s=resources.walltime_s, most=most)
    return [frozenset(unit.id for unit in element.units) for element in packed]


def jobs(
    layout: Layout, site: Site, request: Request, folder: Path, run_id: str, number: int, *, sync: bool
) -> list[Job]:
    """Jobs of a submission, in an order in which each comes after those that it follows.

    Ingest and index do not need each other; reduce waits for a gate that reads the journals of both.
    """
    made: list[Job] = []
    for stage in layout.stages:
        follows: tuple[str, ...] = ()
        if stage.stage == "reduce" and layout.chain == "elements":
            follows = ("index",) if any(job.stage == "index" for job in made) else ()
        elif stage.stage in layout.after:
            # No gate: units whose inputs are not there refuse by themselves.
            follows = layout.after[stage.stage]
            follows = follows if any(job.stage in follows for job in made) else ()
        elif stage.stage == "reduce" and made:
            before = tuple(dict.fromkeys(job.stage for job in made if not is_step(job.stage)))
            made.append(_helper(site, request, "gate", folder, job_name(run_id, number, "gate"), before))
            follows = ("gate",)
        arrays = _arrays(stage, site, folder, run_id, number, follows)
        if stage.stage == "reduce" and layout.chain == "elements":
            namesakes = [job for job in made if job.stage == "ingest"]
            arrays = [replace(job, mirrors=other.name) for job, other in zip(arrays, namesakes, strict=True)]
        made += arrays
    if sync and made:
        ends = tuple(stage for stage in ("reduce", "export") if any(job.stage == stage for job in made))
        last = ends or tuple(dict.fromkeys(job.stage for job in made))
        made.append(_helper(site, request, "sync", folder, job_name(run_id, number, "sync"), last))
    return made


def share(site: Site, request: Request, cores: int, memory_mib: int, walltime_s: int) -> Resources:
    """Resources of a job that is no element: a share of one node.

    Raises
    ------
    PlanError, SiteError
        If the partition has no such share, or an account is missing.
    """
    partition = _choose_partition(site, request.partition, 0)
    _require_partition("a job", partition, 1, cores, memory_mib, 0)
    return Resources(
        cores=cores,
        memory_mib=memory_mib,
        walltime_s=min(walltime_s, partition.walltime or walltime_s),
        partition=partition.name,
        qos=request.qos or partition.qos or "",
        account=_account(site, partition, request),
        directives=tuple(site.directives),
    )


def _resources(
    stage: str, units: int, memory: int, site: Site, request: Request, *, gpu: bool, step: Step | None = None
) -> Resources:
    asked = _asked(site, stage)
    gpus = asked.gpus if asked.gpus is not None else step.gpus if step else int(gpu)
    partition = _choose_partition(site, request.partition or asked.partition, gpus)
    cores = asked.cores or (step.cores if step else 1)
    nodes = 1 if step else min(asked.nodes or 1, units)  # commands of steps are started without MPI
    room = 1.0 if step else _MEMORY_ROOM  # what a step declares is no estimate
    per_rank = max(asked.memory_mib or _rounded_mib(memory * room), (request.memory_mib or {}).get(stage, 0))
    ranks = asked.ranks or min(_RANKS, (partition.cores or _RANKS) // cores)
    ranks = max(1, min(ranks, _fitting_ranks(partition, per_rank), -(-units // nodes)))
    _require_partition(f"stage {stage}", partition, nodes, ranks * cores, ranks * per_rank, gpus)
    return Resources(
        nodes=nodes,
        ranks=ranks,
        cores=cores,
        memory_mib=ranks * per_rank,
        gpus=gpus,
        walltime_s=_target(asked, partition),
        partition=partition.name,
        qos=request.qos or partition.qos or "",
        account=_account(site, partition, request),
        directives=(*site.directives, *asked.directives),
    )


def _asked(site: Site, stage: str) -> StageRequest:
    """Request of a stage over that of `default`."""
    values: dict[str, object] = {}
    for name in ("default", *(["exec"] if is_step(stage) else []), stage):
        request = site.stages.get(name)
        if request is not None:
            values |= request.model_dump(exclude_unset=True)
    return StageRequest.model_validate(values)


def _choose_partition(site: Site, name: str | None, gpus: int) -> Partition:
    if name is not None or not site.partitions:
        return site.partition(name)
    fitting = [p for p in site.partitions if (p.gpus > 0) == (gpus > 0)]
    if gpus and not fitting:
        raise SiteError(
            f"site {site.name} lists no partition with GPUs, which `device: cuda` needs",
            hint="name one in `stages.reduce.partition`, or set `device: cpu` in the campaign",
        )
    return fitting[0] if fitting else site.partitions[0]


def _target(asked: StageRequest, partition: Partition) -> int:
    """Seconds that an element is packed for: half of the longest walltime at most."""
    wanted = asked.walltime or _TARGET_S
    return wanted if partition.walltime is None else max(1, min(wanted, partition.walltime // 2))


def _fitting_ranks(partition: Partition, per_rank_mib: int) -> int:
    return partition.memory_mib // per_rank_mib if partition.memory_mib else _RANKS * 64


def _rounded_mib(count: float) -> int:
    mib = -(-int(count) // 2**20)
    return -(-mib // _MEMORY_STEP_MIB) * _MEMORY_STEP_MIB


def _require_partition(who: str, partition: Partition, nodes: int, cores: int, mib: int, gpus: int) -> None:
    """Refuse what no node of a partition has."""
    checks = (
        (partition.memory_mib, mib, "memory", lambda n: format_bytes(n * 2**20)),
        (partition.cores, cores, "cores", str),
        (partition.max_nodes, nodes, "nodes", str),
        (partition.gpus if gpus else None, gpus, "GPUs", str),
    )
    for limit, wanted, what, show in checks:
        if limit is not None and wanted > limit:
            raise PlanError(
                f"{who} needs {what} of {show(wanted)} where partition {partition.name} has {show(limit)}",
                hint="ask for fewer ranks or cores per node, or another partition (`stages` of the site file)",
            )


def _require_walltime(stage: str, makespan: float, limit: int | None, most: int, what: str) -> None:
    if limit is not None and makespan > limit:
        raise PlanError(
            f"{most} elements of stage {stage}, all that the limits of jobs allow, last {format_duration(makespan)} "
            f"each; {what} allows {format_duration(limit)}",
            hint="set more ranks per element in the site file, or cut the campaign's period or area",
        )


def _most_elements(site: Site, partition: Partition, request: Request, stages: int) -> int:
    """Elements of a stage, at most: all stages, a gate and a sync share what one user may have queued."""
    allowed = max(stages, (partition.max_submitted or _UNKNOWN_SUBMIT_LIMIT) - 2)
    return min(allowed // stages, request.most_elements or allowed)


def _throttle(site: Site, asked: StageRequest, partition: Partition) -> int | None:
    return asked.throttle or site.arrays.throttle or partition.max_running


def _account(site: Site, partition: Partition, request: Request) -> str:
    account = request.account or partition.account or site.account.default or ""
    if site.account.required and not account:
        raise SiteError(
            f"site {site.name} wants an account (project) with each job",
            hint="give --account NAME, or set account.default in a site file of your own",
        )
    return account


def _helper(site: Site, request: Request, stage: str, folder: Path, name: str, follows: tuple[str, ...]) -> Job:
    """A gate or a sync: one small process."""
    asked = _asked(site, stage)
    partition = site.partition(asked.partition) if asked.partition else _choose_partition(site, request.partition, 0)
    resources = replace(
        _HELPER,
        memory_mib=asked.memory_mib or min(_HELPER.memory_mib, partition.memory_mib or _HELPER.memory_mib),
        walltime_s=min(asked.walltime or _HELPER.walltime_s, partition.walltime or _HELPER.walltime_s),
        partition=partition.name,
        qos=request.qos or partition.qos or "",
        account=_account(site, partition, request),
        directives=(*site.directives, *asked.directives),
    )
    return Job(name, stage, folder / f"{stage}.sh", folder / "logs", resources, follows=follows)


def _arrays(
    stage: StageLayout, site: Site, folder: Path, run_id: str, number: int, follows: tuple[str, ...]
) -> list[Job]:
    """One array, or several dense ones where the scheduler limits their size."""
    size = site.arrays.max_size or _UNKNOWN_ARRAY_SIZE[site.scheduler]
    parts = -(-stage.elements // size) if site.arrays.supported else 1
    throttle = None if stage.throttle is None else max(1, stage.throttle // parts)
    made = []
    for part in range(parts):
        first, last = stage.elements * part // parts, stage.elements * (part + 1) // parts
        made.append(
            Job(
                name=job_name(run_id, number, stage.stage, part if parts > 1 else None),
                stage=stage.stage,
                script=folder / (f"{stage.stage}-{part}.sh" if parts > 1 else f"{stage.stage}.sh"),
                logs=folder / "logs",
                resources=stage.resources,
                first=first,
                count=last - first,
                throttle=throttle if throttle is not None and throttle < last - first else None,
                follows=follows,
            )
        )
    return made


def _rounds(stage: StageLayout) -> int:
    return 1 if not stage.throttle else -(-stage.elements // stage.throttle)


def _occupied(stage: StageLayout, site: Site) -> float:
    """Node-seconds."""
    partition = site.partition(stage.resources.partition or None)
    whole = partition.exclusive or partition.cores is None
    share = 1.0 if whole else min(1.0, stage.resources.cores_per_node / (partition.cores or 1))
    return stage.elements * stage.makespan_s * stage.resources.nodes * share
