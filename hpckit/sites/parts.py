"""The parts of a site file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hpckit.base.quantities import parse_walltime

Walltime = Annotated[int, BeforeValidator(parse_walltime, json_schema_input_type=str | int), Field(ge=1)]
"""Seconds; written `90min`, `24h`, `36:00:00`."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,60}$")]
OneLine = Annotated[str, Field(pattern=r"^[^\n\r\x00]*$")]
"""Text that goes into a job script or a command line; quoted there, but never several lines."""


class Part(BaseModel):
    """Fields as they are written, no others, and unchanged once they are read."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Partition(Part):
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
    """The site does not give fewer, or bills this number."""
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


class StageRequest(Part):
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


class Arrays(Part):
    """How large a job array may be."""

    supported: bool = True
    """Off: every element is a job of its own (NCI Gadi)."""
    max_size: Annotated[int, Field(ge=1)] | None = None
    """Slurm: MaxArraySize, indexes stay below it. PBS: max_array_size, the count."""
    throttle: Annotated[int, Field(ge=1)] | None = None
    """Elements of an array that run at a time, unless a stage says otherwise."""


class Mpi(Part):
    """How ranks are started."""

    launcher: Literal["srun", "mpirun", "mpiexec", "none"] = "none"
    """`none`: worker processes of one node without MPI."""
    flavour: Literal["openmpi", "mpich", "intel", "cray"] | None = None
    """Decides which MPI mpi4py loads, and on options that let ranks live on when another one dies."""
    options: list[OneLine] = Field(default_factory=list)
    """`--mpi=pmix`, for example; variables of the job, `$TMPDIR`, are filled in, and nothing else is."""
    hostfile: OneLine | None = None
    """`$PBS_NODEFILE`: the list of nodes for an MPI that does not ask the scheduler (Open MPI without tm)."""


class Account(Part):
    """Who pays."""

    required: bool = False
    option: Literal["-A", "-P"] = "-A"
    """`-P` at NCI."""
    default: OneLine | None = None


class Poll(Part):
    """How often the scheduler may be asked."""

    first_s: Annotated[float, Field(gt=0)] = 30
    longest_s: Annotated[float, Field(gt=0)] = 300
    submit_pause_s: Annotated[float, Field(ge=0)] = 1
    """Between two submissions."""
    timeout_s: Annotated[float, Field(gt=0)] = 90
    """Slurm's commands take 18 s to say that the controller is away."""


class Storage(Part):
    """Where data lie."""

    kind: Literal["lustre", "gpfs", "beegfs", "ceph", "nfs", "local", "weka"] | None = None
    scratch: OneLine | None = None
    """`/scratch-shared/$USER`: as the site writes it, variables and all; shown, never used unasked."""
    project: OneLine | None = None
    local: OneLine | None = None
    """Node-local folder for temporary files."""


class Energy(Part):
    """What the cluster draws and what its electricity emits, to estimate jobs whose energy nobody measures."""

    watt_per_core: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Mean power of a node under load, over its cores: with memory, disks and fans of the node."""
    watt_per_gpu: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Mean power of a GPU under load, beyond that of the cores."""
    pue: Annotated[float, Field(ge=1, le=5)] | None = None
    """Power usage effectiveness: power of the whole building over that of its computers."""
    g_co2_per_kwh: Annotated[float, Field(ge=0, le=3000)] | None = None
    """Emissions of the electricity, grams of CO2 equivalents per kilowatt-hour."""


class Container(Part):
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


class AccountMap(Part):
    """Which collaboration (and group) of SRAM uses which scheduler account and Unix group."""

    co: OneLine
    group: OneLine | None = None
    account: OneLine | None = None
    unix_group: OneLine | None = None


class Login(Part):
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
    command: OneLine | None = None
    """hpckit on the login node, `~/venv/bin/hpckit`, for `--host`; else `command` of the site, or of the PATH."""
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


class Federation(Part):
    """What a campaign of several sites needs of one of them (`hpckit submit --site A --site B`)."""

    scenes: Annotated[list[OneLine], Field(min_length=1)] | None = None
    """Where products lie at this site: folders, or a catalogue that `hpckit scenes scan` wrote there. Those that the
    campaign names, unless given."""
    cost: Annotated[float, Field(gt=0, le=1e6)] = 1
    """Price of a core-hour, in whatever all sites count in: of equally free sites, one of twice the cost gets
    half as much."""
    folder: OneLine | None = None
    """Folder of a site without `login`, which this machine sees: an absolute path. Else `login.folder` counts."""
    command: OneLine | None = None
    """hpckit for such a folder; the one that submits, unless given."""

    @field_validator("folder")
    @classmethod
    def _whole(cls, folder: str | None) -> str | None:
        if folder is not None and not folder.startswith("/"):
            raise ValueError("must be an absolute path")
        return folder


class Identify(Part):
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
