"""What a site file says of code of users in graphs: images, limits, packages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from hpckit.sites.parts import Name, OneLine, Part

UDF_SETTINGS: Final = "HPCKIT_UDF"
"""Variable of jobs with these settings as JSON."""
_MIB: Final = 2**20


class Limits(Part):
    """Limits of one sandbox. What passes one of them is ended, and its unit fails with the limit named."""

    memory_mib: Annotated[int, Field(ge=16)] = 2048
    """Of all processes together, beyond what Python and its packages take at the start."""
    processes: Annotated[int, Field(ge=0)] = 64
    """Processes and threads that user code may add."""
    disk_mib: Annotated[int, Field(ge=1)] = 2048
    """Of its temporary folder, and of each file in it."""
    files: Annotated[int, Field(ge=16)] = 1024
    """Files that a process has open, and a tenth of those that may lie in the temporary folder."""
    seconds: Annotated[float, Field(gt=0)] = 600
    """For one block."""
    output_mib: Annotated[int, Field(ge=1)] = 1024
    """Of the result of one block."""
    log_kib: Annotated[int, Field(ge=1)] = 256
    """Of what is printed for one block; the rest is left out of the log."""
    start_seconds: Annotated[float, Field(gt=0)] = 180
    """Until the image has started, from a slow file system."""

    @property
    def memory_bytes(self) -> int:
        """Memory in bytes."""
        return self.memory_mib * _MIB

    @property
    def disk_bytes(self) -> int:
        """Disk space in bytes."""
        return self.disk_mib * _MIB

    @property
    def output_bytes(self) -> int:
        """Largest result of a block, in bytes."""
        return self.output_mib * _MIB

    @property
    def entries(self) -> int:
        """Files and folders that may lie in the temporary folder."""
        return self.files * 10


class UdfRuntime(Part):
    """An image for code of users."""

    image: OneLine
    """Path of the SIF file on the nodes."""
    python: OneLine = "python3"
    """Its Python, which has numpy, pandas and xarray."""
    version: OneLine | None = None
    """What graphs call its version, `3.12`; those that name another one are refused."""
    title: OneLine = ""
    libraries: dict[Name, OneLine] = Field(default_factory=dict)
    """Packages and versions that are shown to users."""


class Udf(Part):
    """Code of users in graphs: in which images, and within which limits."""

    runtimes: dict[Name, UdfRuntime] = Field(default_factory=dict)
    """By the name that graphs give as `runtime`: `Python`."""
    images: list[OneLine] = Field(default_factory=list)
    """Folders with images that users may name by their path as `runtime`."""
    limits: Limits = Field(default_factory=Limits)
    scratch: OneLine | None = None
    """Folder on node-local disk for temporary files, `$TMPDIR`; the umask decides who may read them. By default a
    private folder in the usual place."""
    network: bool = False
    """Leaves the network open, where Apptainer is not allowed to close it."""
    packages: list[Name] = Field(default_factory=list)
    """Python packages that code may ask for beside those of its image."""
    wheels: OneLine | None = None
    """Folder for them, which login nodes and compute nodes share."""

    def allows(self, image: Path) -> bool:
        """Whether users may name an image."""
        return any(image.resolve().is_relative_to(Path(folder).resolve()) for folder in self.images)
