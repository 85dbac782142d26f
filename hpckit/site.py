"""The site file: one YAML file that describes a cluster. What it leaves out has defaults that hold at most sites.

Files are looked for in the campaign's folder, in `~/.config/hpckit/sites/`, and among those that come with
hpckit (`site-configs/`), in this order.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from hpckit.document import read_document
from hpckit.errors import SiteError
from hpckit.quantities import parse_walltime

Walltime = Annotated[int, BeforeValidator(parse_walltime, json_schema_input_type=str | int), Field(ge=1)]
"""Seconds; written `90min`, `24h`, `36:00:00`."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,60}$")]
OneLine = Annotated[str, Field(pattern=r"^[^\n\r\x00]*$")]
"""Text that goes into a job script or a command line; quoted there, but never several lines."""

StageName = Annotated[
    str,
    Field(pattern=r"^(default|ingest|index|reduce|composite|export|gate|sync|exec(-[a-z][a-z0-9_]{0,20})?)$"),
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Partition(_Model):
    """A Slurm partition, or a PBS queue: what one of its nodes has, and what a job may ask for."""

    name: OneLine
    cores: Annotated[int, Field(ge=1)] | None = None
    """Physical cores of a node."""
    memory_mib: Annotated[int, Field(ge=1)] | None = None
    """Memory of a node that jobs may use."""
    walltime: Walltime | None = None
    """Longest walltime."""
    max_nodes: Annotated[int, Field(ge=1)] | None = None
    """Most nodes of a job."""
    min_cores: Annotated[int, Field(ge=1)] = 1
    """Fewer are not given, or are billed as so many."""
    exclusive: bool = False
    """Nodes are not shared between jobs."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of a node."""
    gpu_request: Literal["gpus-per-node", "gres", "ngpus"] = "gpus-per-node"
    """How GPUs are asked for; `ngpus` is PBS's."""
    gpu_type: OneLine | None = None
    """`a100`, where a request must name it."""
    qos: OneLine | None = None
    """QoS that goes with it."""
    account: OneLine | None = None
    """Account that it demands instead of the user's."""
    max_submitted: Annotated[int, Field(ge=1)] | None = None
    """Jobs (array elements count one by one) that one user may have here, queued or running."""
    max_running: Annotated[int, Field(ge=1)] | None = None
    """Jobs of one user that run at a time."""
    network: bool = False
    """Its nodes reach the internet, or at least the central database."""


class StageRequest(_Model):
    """What an element of a stage asks for; what is left out follows from the plan and the partition."""

    partition: OneLine | None = None
    nodes: Annotated[int, Field(ge=1)] | None = None
    ranks: Annotated[int, Field(ge=1)] | None = None
    """Ranks (processes) per node."""
    cores: Annotated[int, Field(ge=1)] | None = None
    """Cores per rank."""
    memory_mib: Annotated[int, Field(ge=16)] | None = None
    """Memory per rank."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs per node."""
    walltime: Walltime | None = None
    """What elements are packed for; they ask for somewhat more, within the partition's limit."""
    throttle: Annotated[int, Field(ge=1)] | None = None
    """Elements that run at a time."""
    directives: list[OneLine] = Field(default_factory=list)
    """Further lines for the scheduler, verbatim without the `#SBATCH` or `#PBS`."""


class Arrays(_Model):
    """How large a job array may be."""

    supported: bool = True
    """Off: every element is a job of its own (NCI Gadi)."""
    max_size: Annotated[int, Field(ge=1)] | None = None
    """Slurm: MaxArraySize, indexes stay below it. PBS: max_array_size, the count."""
    throttle: Annotated[int, Field(ge=1)] | None = None
    """Elements of an array that run at a time, unless a stage says otherwise."""


class Mpi(_Model):
    """How ranks are started."""

    launcher: Literal["srun", "mpirun", "mpiexec", "none"] = "none"
    """`none`: worker processes of one node without MPI."""
    flavour: Literal["openmpi", "mpich", "intel", "cray"] | None = None
    """Decides on options that let ranks live on when another one dies."""
    options: list[OneLine] = Field(default_factory=list)
    """`--mpi=pmix`, for example."""


class Account(_Model):
    """Who pays."""

    required: bool = False
    option: Literal["-A", "-P"] = "-A"
    """`-P` at NCI."""
    default: OneLine | None = None


class Poll(_Model):
    """How often the scheduler may be asked."""

    first_s: Annotated[float, Field(gt=0)] = 30
    longest_s: Annotated[float, Field(gt=0)] = 300
    submit_pause_s: Annotated[float, Field(ge=0)] = 1
    """Between two submissions."""
    timeout_s: Annotated[float, Field(gt=0)] = 90
    """Slurm's commands take 18 s to say that the controller is away."""


class Storage(_Model):
    """Where data lie."""

    kind: Literal["lustre", "gpfs", "beegfs", "ceph", "nfs", "local", "weka"] | None = None
    scratch: OneLine | None = None
    """`/scratch-shared/$USER`: as the site writes it, variables and all; shown, never used unasked."""
    project: OneLine | None = None
    local: OneLine | None = None
    """Node-local folder for temporary files."""


class Container(_Model):
    """The image that jobs run in, and how it is entered."""

    image: OneLine | None = None
    """Path of the SIF file on the nodes; may hold variables, `$HOME/hpckit.sif`."""
    command: OneLine = "apptainer"
    """`apptainer` or `singularity`, or its path on the nodes."""
    binds: list[OneLine] = Field(default_factory=list)
    """`SOURCE[:TARGET[:ro]]`, with variables of the job, `$TMPDIR`. What a campaign names is bound unasked."""
    cleanenv: bool = True
    """Of the job's environment only what ranks, threads and databases need gets in."""
    mpi: Literal["hybrid", "bind"] = "hybrid"
    """`hybrid`: the image's own MPI under the site's launcher. `bind`: the site's MPI in place of it."""
    mpi_folder: OneLine | None = None
    """Of the site's MPI, for `bind`; its `lib` comes first in LD_LIBRARY_PATH."""
    options: list[OneLine] = Field(default_factory=list)
    """Further words of `apptainer exec`."""
    base: OneLine | None = None
    """Base of `hpckit image def`: `debian`, a docker:// URI or an image file."""
    cuda: OneLine | None = None
    """Version of CUDA that the image holds."""

    @model_validator(mode="after")
    def _folder_for_bind(self) -> Container:
        if self.mpi == "bind" and self.mpi_folder is None:
            raise ValueError("container.mpi: bind needs container.mpi_folder, where the site's MPI lies")
        return self


class AccountMap(_Model):
    """Which collaboration (and group) of SRAM uses which scheduler account and Unix group."""

    co: OneLine
    group: OneLine | None = None
    account: OneLine | None = None
    unix_group: OneLine | None = None


class Login(_Model):
    """How people get in. Nothing secret stands here."""

    host: OneLine
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: OneLine = "{user}"
    """Template of the login name: {service}, {org}, {co}, {uid} of SRAM, or {user}, an account of the site."""
    jump: list[OneLine] = Field(default_factory=list)
    """Hosts on the way (ProxyJump), `[user@]host[:port]`, in order; may hold the words of `user`."""
    federation: Literal["sram", "own"] = "own"
    service: OneLine | None = None
    """Short name of the service in SRAM."""
    interactive: bool = False
    """A person must answer something (pam-weblogin, a second factor): `hpckit login open`, once."""
    sync_min: tuple[int, int] = (15, 60)
    """Minutes from a change in SRAM to the site, at least and at most."""
    ldap: OneLine | None = None
    """`ldaps://…` for operators."""
    base_dn: OneLine | None = None
    """`dc=<service>,dc=services,dc=sram,dc=surf,dc=nl`."""
    folder: OneLine = "hpckit"
    """Folder on the site, relative to the home folder, to which campaigns are staged."""
    accounts: list[AccountMap] = Field(default_factory=list)

    @field_validator("user")
    @classmethod
    def _known_words(cls, user: str) -> str:
        for word in re.findall(r"\{([^}]*)\}", user):
            if word not in ("service", "org", "co", "uid", "user"):
                raise ValueError(
                    f"unknown word {{{word}}}; there are {{service}}, {{org}}, {{co}}, {{uid}}, {{user}}"
                )
        return user


class Identify(_Model):
    """How one knows that one stands on this cluster."""

    hostname: str | None = None
    """Regular expression that the host's full name matches from its beginning."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables with their values, `*` for any."""

    def matches(self, hostname: str, environment: Mapping[str, str]) -> bool:
        """Whether host name and environment are those of the cluster."""
        if self.hostname is None and not self.environment:
            return False
        named = self.hostname is None or re.match(self.hostname, hostname) is not None
        return named and all(
            environment.get(key) == value or (value == "*" and key in environment)
            for key, value in self.environment.items()
        )


class Site(_Model):
    """One cluster."""

    name: Name
    title: OneLine = ""
    scheduler: Literal["slurm", "pbs", "local"]
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
    sync: Literal["job", "login"] = "login"
    """Where results are loaded into a database: in a job (nodes reach it), or by the person on the login node."""
    poll: Poll = Field(default_factory=Poll)
    storage: Storage = Field(default_factory=Storage)
    login: Login | None = None
    notes: list[OneLine] = Field(default_factory=list)
    """What a user should know; shown by `hpckit site show`."""

    _path: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _consistent(self) -> Site:
        names = [partition.name for partition in self.partitions]
        if len(set(names)) != len(names):
            raise ValueError("two partitions have the same name; rename one")
        for stage, request in self.stages.items():
            if request.partition is not None and names and request.partition not in names:
                raise ValueError(
                    f"stages.{stage} names partition {request.partition!r}, which `partitions` lacks"
                    f" (it has {', '.join(names)})"
                )
        if self.scheduler == "pbs" and self.mpi.launcher == "srun":
            raise ValueError("mpi.launcher: srun is Slurm's; PBS has mpiexec or mpirun")
        if self.runtime == "apptainer" and self.container.image is None:
            raise ValueError("runtime: apptainer needs container.image, the path of the SIF file on the nodes")
        if self.runtime == "module" and not self.modules:
            raise ValueError("runtime: module needs `modules`, the one that has hpckit among them")
        return self

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return self._path

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


def load_site(path: Path) -> Site:
    """Read and validate a site file.

    Raises
    ------
    SiteError
        One line per fault: `file:line: field: what is wrong`.
    """
    path = path.absolute()
    site, _ = read_document(
        path,
        Site,
        SiteError,
        what="site",
        missing="`hpckit site list` names those that there are",
        hint="`hpckit site show NAME` prints a complete example; `hpckit schema site` the JSON schema for editors",
    )
    site._path = path
    return site


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


def site_files(folders: Sequence[Path] = ()) -> dict[str, Path]:
    """Site files by name; those of nearer folders hide others."""
    found: dict[str, Path] = {}
    for folder in (*folders, user_folder(), shipped_folder()):
        for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else ():
            # A campaign's folder holds other YAML files too: only those that say which scheduler count.
            if folder in (user_folder(), shipped_folder()) or _says_scheduler(path):
                found.setdefault(path.stem, path)
    return found


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


def user_folder() -> Path:
    """The user's own site files."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "hpckit" / "sites"


def shipped_folder() -> Path:
    """The site files that come with hpckit, in the source tree or in the installed package."""
    return _shipped("site-configs")


def templates_folder() -> Path:
    """The job script templates that come with hpckit."""
    return _shipped("jobscripts")


def containers_folder() -> Path:
    """The templates and lock files of images that come with hpckit."""
    return _shipped("containers")


def _shipped(name: str) -> Path:
    package = Path(__file__).parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


def _says_scheduler(path: Path) -> bool:
    try:
        return any(line.startswith("scheduler:") for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return False


def site_from(values: dict[str, Any]) -> Site:
    """Site from plain values, as a run directory keeps it.

    Raises
    ------
    SiteError
        If they do not fit this version.
    """
    try:
        return Site.model_validate(values)
    except ValueError as error:
        raise SiteError("the frozen site does not fit this version of hpckit") from error
