"""The site file: one YAML file that describes a cluster. What it leaves out has defaults that hold at most sites.

Where files are looked for is in `places`.
"""

from __future__ import annotations

import difflib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from hpckit.base.account import expand
from hpckit.base.document import Layers, read_layers
from hpckit.errors import SiteError
from hpckit.sites.parts import (
    Account,
    Arrays,
    Container,
    Energy,
    Federation,
    Identify,
    Login,
    Mpi,
    Name,
    OneLine,
    Part,
    Partition,
    Poll,
    StageRequest,
    Storage,
)
from hpckit.sites.places import all_site_files, require_kept, site_files
from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.registry import scheduler_named
from hpckit.sites.udf import Udf

_FROZEN: Final = "frozen"

StageName = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_]{0,30}(-[a-z][a-z0-9_]{0,20})?$"),
]


class Site(Part):
    """One cluster."""

    extends: OneLine | None = None
    """Name, or path, of a site file of which this one changes some fields: mappings are joined, lists and values
    replaced, and null takes a field back to its default. A file that extends its own name changes that of the
    operator, or the one of hpckit, whichever is nearer."""
    name: Name
    title: OneLine = ""
    scheduler: Name
    """`slurm`, `pbs`, `local`, or one that an installed package adds."""
    identify: Identify = Field(default_factory=Identify)
    partitions: list[Partition] = Field(default_factory=list)
    """The first one that fits is used where a stage names none."""
    arrays: Arrays = Field(default_factory=Arrays)
    account: Account = Field(default_factory=Account)
    memory_request: Literal["node", "cpu", "none"] = "node"
    """Slurm: `--mem`, `--mem-per-cpu` or nothing. PBS: in the chunk, or for the whole job with `job_wide`."""
    job_wide: bool = False
    """PBS: ask by `ncpus=`, `mem=`, `ngpus=` for the whole job instead of `select=` (NCI Gadi)."""
    mpi: Mpi = Field(default_factory=Mpi)
    stages: dict[StageName, StageRequest] = Field(default_factory=dict)
    """`default` holds for all that do not say otherwise, `exec` for steps of campaigns, `exec-NAME` for one."""
    directives: list[OneLine] = Field(default_factory=list)
    """Further lines for the scheduler in every job, verbatim without the `#SBATCH` or `#PBS`."""
    modules: list[OneLine] = Field(default_factory=list)
    """Loaded by `module load` in every job."""
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], OneLine] = Field(
        default_factory=dict
    )
    """Exported in every job."""
    setup: str = ""
    """Bash lines that run in every job before the work, `source ~/hpckit/bin/activate`."""
    command: OneLine | None = None
    """Path of `hpckit` on the nodes; the one that submits, unless given."""
    runtime: Literal["venv", "module", "apptainer"] = "venv"
    """What jobs run hpckit from: an environment on the file system, a module, or the image of `container`."""
    container: Container = Field(default_factory=Container)
    group: bool = False
    """Whether runs that are submitted here are a group's, as `group` of a campaign says for one."""
    sync: Literal["job", "login"] = "login"
    """Where results are loaded into a database: in a job (nodes reach it), or by the person on the login node."""
    udf: Udf | None = None
    """Code of users in graphs; without it there is none."""
    poll: Poll = Field(default_factory=Poll)
    storage: Storage = Field(default_factory=Storage)
    energy: Energy = Field(default_factory=Energy)
    login: Login | None = None
    federation: Federation = Field(default_factory=Federation)
    notes: list[OneLine] = Field(default_factory=list)
    """What a user should know; shown by `hpckit site show`."""

    _path: Path = PrivateAttr(default=Path())
    _layers: Layers | None = PrivateAttr(default=None)

    @field_validator("scheduler")
    @classmethod
    def _known_scheduler(cls, name: str, info: ValidationInfo) -> str:
        # A worker asks no scheduler: an image need not hold the package that adds it.
        if not (info.context or {}).get(_FROZEN):
            try:
                scheduler_named(name)
            except SiteError as error:
                raise ValueError(f"{error}; {error.hint}") from None
        return name

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Site:
        names = [partition.name for partition in self.partitions]
        if len(set(names)) != len(names):
            raise ValueError("two partitions have the same name; rename one")
        for stage, request in self.stages.items():
            if request.partition is not None and names and request.partition not in names:
                raise ValueError(
                    f"stages.{stage} names partition {request.partition!r}, which `partitions` lacks"
                    f" (it has {', '.join(names)})"
                )
        if not (info.context or {}).get(_FROZEN):
            self._require_launcher()
        if self.mpi.hostfile is not None and self.mpi.launcher not in ("mpirun", "mpiexec"):
            raise ValueError("mpi.hostfile is for mpi.launcher mpirun or mpiexec; srun knows its nodes")
        if self.runtime == "apptainer" and self.container.image is None:
            raise ValueError("runtime: apptainer needs container.image, the path of the SIF file on the nodes")
        if self.runtime == "module" and not self.modules:
            raise ValueError("runtime: module needs `modules`, the one that has hpckit among them")
        return self

    def _require_launcher(self) -> None:
        scheduler, launcher = scheduler_of(self), self.mpi.launcher
        if launcher not in scheduler.launchers:
            there = " or ".join(name for name in scheduler.launchers if name != "none")
            raise ValueError(f"mpi.launcher: {launcher} is of another scheduler; {scheduler.title} has {there}")

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return self._path

    @property
    def paths(self) -> tuple[Path, ...]:
        """That file, and those that it extends."""
        return (self._path,) if self._layers is None else self._layers.paths

    @property
    def origins(self) -> dict[str, tuple[Path, int]]:
        """File and line of each field that is written, with dots and numbers: `partitions.0.cores`."""
        places = self._layers.places if self._layers is not None else {}
        inner = {place[:length] for place in places for length in range(1, len(place))}
        return {".".join(map(str, place)): said for place, said in places.items() if place not in inner}

    def written(self) -> str:
        """The fields of the file, and of those that it extends, as one file that stands by itself."""
        if self._layers is None or self._layers.paths == (self.path,):
            return self.path.read_text()
        fields = {name: value for name, value in self._layers.document.items() if name != "extends"}
        return json.dumps(fields, indent=1) + "\n"  # JSON is YAML

    def partition(self, name: str | None) -> Partition:
        """Partition by name; one without limits if the file lists none.

        Raises
        ------
        SiteError
            If the file lists partitions, and not this one.
        """
        if name is None:
            return self.partitions[0] if self.partitions else Partition(name="")
        for partition in self.partitions:
            if partition.name == name:
                return partition
        if self.partitions:
            names = [partition.name for partition in self.partitions]
            close = difflib.get_close_matches(name, names, n=1)
            raise SiteError(
                f"site {self.name} has no partition {name!r}",
                hint=f"did you mean {close[0]!r}?" if close else f"it has {', '.join(names)}",
            )
        return Partition(name=name)


def scheduler_of(site: Site) -> Scheduler:
    """The scheduler of a site.

    Raises
    ------
    SiteError
        If no installed package has it.
    """
    return scheduler_named(site.scheduler)


def site_here(site: Site) -> Site:
    """A site with the directives that this environment adds, where its file does not say otherwise."""
    stages = [line for request in site.stages.values() for line in request.directives]
    more = scheduler_of(site).directives_here(os.environ, [*site.directives, *stages])
    return site.model_copy(update={"directives": [*site.directives, *more]}) if more else site


def load_site(path: Path) -> Site:
    """Read and validate a site file.

    Raises
    ------
    SiteError
        One line per fault: `file:line: field: what is wrong`.
    """
    path = path.absolute()
    if path.exists():
        require_kept(path)
    site, layers = read_layers(
        path,
        Site,
        SiteError,
        what="site",
        missing="`hpckit site list` names those that there are",
        hint="`hpckit site show NAME` prints a complete example; `hpckit schema site` the JSON schema for editors",
        base=_extended,
    )
    site._path, site._layers = path, layers
    return site


def _extended(path: Path, fields: Mapping[str, Any]) -> Path | None:
    """Site file that a site file extends.

    Raises
    ------
    SiteError
        If there is none of this name, or anybody may change it.
    """
    name = fields.get("extends")
    if not isinstance(name, str):
        return None
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        found = (path.parent / expand(name)).absolute()
    else:
        known = [file.path for file in all_site_files([path.parent]).get(name, [])]
        after = known[known.index(path) + 1 :] if path in known else known
        if not after:
            other = "other " if name == path.stem else ""
            raise SiteError(
                f"{path}: extends: there is no {other}site file {name!r}",
                hint="`hpckit site list` lists all",
            )
        found = after[0]
    if found.exists():
        require_kept(found)
    return found


def find_site(name: str, folders: Sequence[Path] = ()) -> Site:
    """Site by its name, or by the path of its file.

    Parameters
    ----------
    folders : sequence of Path
        Searched before the usual ones; the campaign's folder.

    Raises
    ------
    SiteError
        If there is none.
    """
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        return load_site(Path(name))
    files = site_files(folders)
    if name not in files:
        close = difflib.get_close_matches(name, files, n=1)
        raise SiteError(
            f"no site {name!r}",
            hint=f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(files)) or 'none'}",
        )
    return load_site(files[name])


def identify_site(folders: Sequence[Path] = ()) -> str | None:
    """Name of the site that this machine belongs to, if a site file recognises it."""
    hostname = socket.getfqdn()
    for name, path in site_files(folders).items():
        try:
            if load_site(path).identify.matches(hostname, os.environ):
                return name
        except SiteError:
            continue
    return None


def site_from(values: dict[str, Any]) -> Site:
    """Site from plain values, as a run directory keeps it.

    Raises
    ------
    SiteError
        If they do not fit this version.
    """
    try:
        return Site.model_validate(values, context={_FROZEN: True})
    except ValueError as error:
        raise SiteError("the frozen site does not fit this version of hpckit") from error
