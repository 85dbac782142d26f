"""From a plan to the job arrays of a site: what elements ask for, how many there are, and what follows what."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from hpckit.base.quantities import format_bytes, format_duration
from hpckit.campaign.stages import is_step
from hpckit.cubes.stage import Stage
from hpckit.errors import PlanError, SiteError
from hpckit.jobs.elements import Element, pack, pack_as, walltime
from hpckit.runs.plan import Unit, tiles_of
from hpckit.sites.parts import Partition, StageRequest
from hpckit.sites.scheduler.model import Job, Resources
from hpckit.sites.site import Site, scheduler_of
from hpckit.submissions.submission import StageLayout, job_name

_TARGET_S: Final = 2 * 3600
_RANKS: Final = 16
"""Ranks of an element where nobody says: a share of a node that queues everywhere."""
_MEMORY_ROOM: Final = 1.3
"""Memory asked for over that estimated."""
_MEMORY_STEP_MIB: Final = 128
_HELPER: Final = Resources(memory_mib=2048, walltime_s=1800)
"""Of a gate, and of a sync that runs as a job."""


_ASKED: Final = ("default", "gate", "sync", "exec")
"""What else has resources in a site file."""
_RENAMED: Final = {"index": "zones", "reduce": "signatures", "composite": "composites"}
"""What stages were called once."""
_Work = tuple[Stage, Sequence[Unit]]

Chain = Literal["stages", "elements"]
"""What waits for what: a gated stage for all before it, or each of its elements for its namesake of one stage."""


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
    mail: str | None = None
    """Address to which the scheduler writes when the last jobs have ended."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Elements and jobs of a submission, before anything is written."""

    stages: tuple[StageLayout, ...]
    elements: Mapping[str, Sequence[Element]]
    chain: Chain
    kinds: Mapping[str, Stage]
    """Stages by name."""

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


def lay_out(work: Sequence[tuple[Stage, Sequence[Unit], int]], site: Site, request: Request, *, cuda: bool) -> Layout:
    """Decide what the elements of each stage are and ask for.

    Parameters
    ----------
    work : sequence of tuple
        Stages that have units to do, in the order in which they run: with these units, in the order of the plan, and
        the bytes that one process needs at most, as estimated.
    cuda : bool
        Whether the reductions ask for a GPU.

    Raises
    ------
    PlanError
        If a stage cannot fit into any walltime, memory or number of jobs that the site allows.
    SiteError
        If a partition is unknown, or an account is missing.
    """
    pair = _pair(work) if request.chain == "elements" else ()
    together = _tiles_together(pair[0], pair[1], site, request) if pair else []
    stages: list[StageLayout] = []
    elements: dict[str, Sequence[Element]] = {}
    for stage, units, memory in work:
        resources = _resources(stage, len(units), memory, site, request, gpu=cuda and stage.uses_gpu)
        partition = site.partition(resources.partition or None)
        most = _most_elements(site, partition, request, len(work))
        packed = pack(units, ranks=resources.ranks_in_all, target_s=resources.walltime_s, most=most)
        if stage.name in {other.name for other, _ in pair}:
            packed = pack_as(together, units)
        limit, what = partition.walltime, f"partition {partition.name}" if partition.name else "the site"
        wanted = walltime(packed, resources.ranks_in_all, limit, what, stage.shorter)
        wanted = max(wanted, (request.walltime_s or {}).get(stage.name, 0))
        makespan = max(element.makespan(resources.ranks_in_all) for element in packed)
        _require_walltime(stage.name, makespan, limit, most, what)
        resources = replace(resources, walltime_s=wanted if limit is None else min(wanted, limit))
        core_s = sum(element.cost for element in packed)
        throttle = _throttle(site, _asked(site, stage.name, alone=stage.alone), partition)
        throttle = throttle or (1 if stage.transfers else None)
        stages.append(
            StageLayout(stage.name, len(packed), len(units), core_s, makespan, resources, throttle, stage.alone)
        )
        elements[stage.name] = packed
    return Layout(tuple(stages), elements, request.chain, {stage.name: stage for stage, _, _ in work})


def require_known(site: Site, stages: Iterable[str]) -> None:
    """Refuse a site file that asks for resources of a stage which does not exist.

    Parameters
    ----------
    stages : iterable of str
        Names of all stages, those that the campaign does not use included.

    Raises
    ------
    SiteError
        Names the field.
    """
    known = sorted({*_ASKED, *stages})
    for name in site.stages:
        if name not in known and not is_step(name):
            close = difflib.get_close_matches(_RENAMED.get(name, name), known, n=1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise SiteError(
                f"site {site.name}: stages.{name}: there is no such stage",
                hint=f"{meant}stages are {', '.join(known)}, and exec-NAME for a step",
            )


def _pair(work: Sequence[tuple[Stage, Sequence[Unit], int]]) -> Sequence[_Work]:
    """A stage that mirrors another one, after the other one; none if it has nothing to do."""
    by_name = {stage.name: (stage, units) for stage, units, _ in work}
    for stage, units, _ in work:
        if stage.mirrors in by_name:
            return by_name[stage.mirrors], (stage, units)
    return ()


def _tiles_together(first: _Work, second: _Work, site: Site, request: Request) -> list[frozenset[str]]:
    """Tiles of each element, the same for both stages.

    Raises
    ------
    PlanError
        If the stages do not map one to one.
    """
    tiles = [{tile for unit in units for tile in tiles_of(unit)} for _, units in (first, second)]
    if tiles[0] != tiles[1] or any(len(tiles_of(unit)) > 1 for unit in second[1]):
        raise PlanError(
            f"elements of {first[0].name} and {second[0].name} do not match one to one: not the same tiles are to be "
            "done in both, or zones are answered for by several tiles together",
            hint="use --chain stages",
        )
    costs: dict[str, float] = {}
    for unit in (*first[1], *second[1]):
        costs[tiles_of(unit)[0]] = costs.get(tiles_of(unit)[0], 0.0) + unit.cost
    whole = [Unit(tile, first[0].name, cost, "", {"tile": tile}) for tile, cost in sorted(costs.items())]
    resources = _resources(first[0], len(first[1]), 2**20, site, request, gpu=False)
    most = _most_elements(site, site.partition(resources.partition or None), request, 2)
    packed = pack(whole, ranks=resources.ranks_in_all, target_s=resources.walltime_s, most=most)
    return [frozenset(unit.id for unit in element.units) for element in packed]


def jobs(
    layout: Layout, site: Site, request: Request, folder: Path, run_id: str, number: int, *, sync: bool
) -> list[Job]:
    """Jobs of a submission, in an order in which each comes after those that it follows.

    A gated stage waits for a gate that reads the journals of all stages before it but those of a user's own. The sync
    waits for all that is in the store, or is the only job.
    """
    made: list[Job] = []
    for stage in layout.stages:
        kind = layout.kinds[stage.stage]
        namesakes = [job for job in made if layout.chain == "elements" and job.stage == kind.mirrors]
        if namesakes:
            follows = tuple(dict.fromkeys(job.stage for job in made if job.stage != kind.mirrors and not job.alone))
        elif kind.gated and made:
            before = tuple(dict.fromkeys(job.stage for job in made if not job.alone))
            name = job_name(run_id, number, "gate")
            made.append(replace(_helper(site, request, "gate", folder, name, before), gates=kind.name))
            follows = ("gate",)
        else:  # units whose inputs are not there refuse by themselves
            there = {job.stage for job in made}
            follows = tuple(name for name in kind.follows if name in there)
        arrays = _arrays(stage, site, folder, run_id, number, follows)
        if namesakes:
            arrays = [replace(job, mirrors=other.name) for job, other in zip(arrays, namesakes, strict=True)]
        made += arrays
    if sync:
        ends = tuple(stage.stage for stage in layout.stages if layout.kinds[stage.stage].in_store)
        last = ends or tuple(dict.fromkeys(job.stage for job in made))
        made.append(_helper(site, request, "sync", folder, job_name(run_id, number, "sync"), last))
    return made if request.mail is None else _with_mail(made, site, request.mail)


def _with_mail(made: Sequence[Job], site: Site, address: str) -> list[Job]:
    """Jobs of which the last ones, those that none follows, send mail when they end."""
    directives = scheduler_of(site).mail(address)
    followed = {stage for job in made for stage in job.follows}
    return [
        job
        if job.stage in followed
        else replace(job, resources=replace(job.resources, directives=(*job.resources.directives, *directives)))
        for job in made
    ]


def require_mail(site: Site, address: str | None) -> None:
    """Refuse an address for mail that is none, and a scheduler that sends none.

    Raises
    ------
    PlanError
        If the address is none, or the scheduler sends no mail.
    """
    if address is None:
        return
    if not re.fullmatch(r"[^\s,;<>\"'@]+@[^\s,;<>\"'@]+", address):
        raise PlanError(f"{address!r} is no mail address", hint="write one, as gis@agency.example")
    scheduler = scheduler_of(site)
    if not scheduler.mail(address):
        hint = "`hpckit update --notify mailto:…` sends it by sendmail"
        raise PlanError(f"{scheduler.title} sends no mail", hint=hint)


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
        account=account_of(site, partition, request.account),
        directives=tuple(site.directives),
    )


def _resources(stage: Stage, units: int, memory: int, site: Site, request: Request, *, gpu: bool) -> Resources:
    asked = _asked(site, stage.name, alone=stage.alone)
    gpus = asked.gpus if asked.gpus is not None else stage.gpus or int(gpu)
    named = asked.partition or (_with_network(site) if stage.transfers else None)
    partition = _choose_partition(site, named if stage.transfers and named else request.partition or named, gpus)
    cores = asked.cores or stage.cores or 1
    nodes = 1 if stage.alone else min(asked.nodes or 1, units)
    room = _MEMORY_ROOM if stage.memory_mib is None else 1.0  # what is declared is no estimate
    per_rank = max(asked.memory_mib or _rounded_mib(memory * room), (request.memory_mib or {}).get(stage.name, 0))
    ranks = asked.ranks or (1 if stage.transfers else min(_RANKS, (partition.cores or _RANKS) // cores))
    ranks = max(1, min(ranks, _fitting_ranks(partition, per_rank), -(-units // nodes)))
    _require_partition(f"stage {stage.name}", partition, nodes, ranks * cores, ranks * per_rank, gpus)
    return Resources(
        nodes=nodes,
        ranks=ranks,
        cores=cores,
        memory_mib=ranks * per_rank,
        gpus=gpus,
        walltime_s=_target(asked, partition),
        partition=partition.name,
        qos=request.qos or partition.qos or "",
        account=account_of(site, partition, request.account),
        directives=(*site.directives, *asked.directives),
    )


def _asked(site: Site, stage: str, *, alone: bool = False) -> StageRequest:
    """Request of a stage over that of `default`; that of `exec` is of all stages which start other programs."""
    values: dict[str, object] = {}
    for name in ("default", *(["exec"] if alone else []), stage):
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
            hint="set `partition` of the stage under `stages` in the site file, or set `device: cpu` in the campaign",
        )
    return fitting[0] if fitting else site.partitions[0]


def _with_network(site: Site) -> str | None:
    """A partition from whose nodes servers can be reached, if the site file says so of one."""
    return next((partition.name for partition in site.partitions if partition.network and not partition.gpus), None)


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
    allowed = max(stages, (partition.max_submitted or scheduler_of(site).submit_limit) - 2)
    return min(allowed // stages, request.most_elements or allowed)


def _throttle(site: Site, asked: StageRequest, partition: Partition) -> int | None:
    return asked.throttle or site.arrays.throttle or partition.max_running


def account_of(site: Site, partition: Partition, asked: str | None) -> str:
    """Account that a job names: that which was asked for, or of partition or site; empty where none is needed.

    Raises
    ------
    SiteError
        If the site wants one.
    """
    account = asked or partition.account or site.account.default or ""
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
        account=account_of(site, partition, request.account),
        directives=(*site.directives, *asked.directives),
    )
    return Job(name, stage, folder / f"{stage}.sh", folder / "logs", resources, follows=follows)


def _arrays(
    stage: StageLayout, site: Site, folder: Path, run_id: str, number: int, follows: tuple[str, ...]
) -> list[Job]:
    """One array, or several dense ones where the scheduler limits their size."""
    size = site.arrays.max_size or scheduler_of(site).array_size
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
                alone=stage.alone,
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
