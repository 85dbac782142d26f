"""Definition files of images: what a site needs, filled into the template of `containers/`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import jinja2

from hpckit.base.account import expand
from hpckit.base.files import digest
from hpckit.base.version import __version__
from hpckit.errors import ImageError
from hpckit.sites.image import source
from hpckit.sites.places import containers_folder
from hpckit.sites.site import Site

Mpi = Literal["openmpi", "mpich", "none"]

_SUITE: Final = "bookworm"
_PYTHON: Final = "3.11"
"""Of the suite, and of the wheels that the lock files name."""
_MPI_PACKAGES: Final[Mapping[Mpi, str]] = {"openmpi": "openmpi-bin", "mpich": "mpich"}
_FAMILY: Final[Mapping[str, Mpi]] = {"openmpi": "openmpi", "mpich": "mpich", "intel": "mpich", "cray": "mpich"}
"""Which MPI of the image fits that of a site: Intel's and Cray's share the ABI of MPICH."""
_CUDA_LOCKS: Final = ("12",)
_UNQUOTED: Final = re.compile(r"[^\s\"'{}$`\\]+")


@dataclass(frozen=True)
class Recipe:
    """What an image is made of."""

    base: str = "debian"
    """`debian`, a `docker://` URI, or the path of an image file."""
    mpi: Mpi = "openmpi"
    cuda: str | None = None
    """Version of CUDA, of which the first number counts: the driver comes from the host."""
    mirror: str = ""
    """Debian's packages, for base `debian`."""
    site: str = ""

    @property
    def version(self) -> str:
        """Of hpckit."""
        return __version__

    @property
    def suite(self) -> str:
        """Of Debian."""
        return _SUITE

    @property
    def python(self) -> str:
        """Version of Python that the base must have."""
        return _PYTHON

    @property
    def bootstrap(self) -> Literal["debootstrap", "docker", "localimage"]:
        """How the base comes in."""
        if self.base == "debian":
            return "debootstrap"
        return "docker" if self.base.startswith("docker://") else "localimage"

    @property
    def source(self) -> str:
        """The base as the definition file names it."""
        return self.base.removeprefix("docker://")

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian's packages of both stages; only the first uses python3-venv, which has three megabytes."""
        mpi = [_MPI_PACKAGES[self.mpi]] if self.mpi in _MPI_PACKAGES else []
        return ("ca-certificates", "python3", "python3-venv", *mpi)

    @property
    def levels(self) -> tuple[str, ...]:
        """Instruction sets for which kernels are compiled into the image."""
        return ("x86-64-v3", "x86-64-v4")

    @property
    def abi(self) -> str:
        """Which MPI the wheel of mpi4py binds to."""
        return "" if self.mpi == "none" else self.mpi

    @property
    def lock(self) -> Path:
        """The lock file of its Python packages."""
        name = "requirements.lock" if self.cuda is None else f"requirements-cuda{self.cuda.partition('.')[0]}.lock"
        return containers_folder() / name

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Labels: OCI's keys, and what decides whether an image fits a run."""
        found = {
            "org.opencontainers.image.title": "hpckit",
            "org.opencontainers.image.description": "Sentinel scenes to Zarr cubes to parcel signatures",
            "org.opencontainers.image.version": self.version,
            "org.opencontainers.image.revision": source.commit() or "unknown",
            "org.opencontainers.image.created": source.date(),
            "org.opencontainers.image.licenses": "BSD-3-Clause",
            "org.opencontainers.image.base.name": f"debian:{_SUITE}" if self.base == "debian" else self.source,
            "org.hpckit.lock": digest(self.lock.read_bytes()),
            "org.hpckit.mpi": self.mpi,
            "org.hpckit.cuda": self.cuda or "none",
            # Apptainer would write the moment of the build.
            "org.label-schema.build-date": source.date(),
        }
        return found | ({"org.hpckit.site": self.site} if self.site else {})

    def definition(self, root: str = "") -> str:
        """Text of the definition file.

        Parameters
        ----------
        root : str, optional
            Folder, as seen from where Apptainer is called, that holds a root file system of `debian()`; without, the
            definition stands alone.

        Raises
        ------
        ImageError
            If a value cannot stand in one.
        """
        self._require_sound()
        return _templates().get_template("hpckit.def.j2").render(recipe=self, root=root)

    def debian(self) -> str:
        """Text of a definition file with Debian alone, for base `debian`."""
        self._require_sound()
        return _templates().get_template("debian.def.j2").render(recipe=self)

    def _require_sound(self) -> None:
        for what, value in (("base", self.source), ("mirror", self.mirror), ("site", self.site)):
            if value and not _UNQUOTED.fullmatch(value):
                raise ImageError(
                    f"{what} {value!r} cannot stand in a definition file, which has no quotes",
                    hint="use a path or name without spaces, quotes, braces and dollar signs",
                )
        if self.base == "debian" and not self.mirror:
            raise ImageError(
                "base `debian` needs a mirror of Debian's packages, and this machine's apt names none",
                hint="give --mirror URL, or another --base: docker://python:3.11-slim-bookworm@sha256:…",
            )
        if self.bootstrap == "localimage" and not Path(self.base).exists():
            raise ImageError(
                f"{self.base}: no such base image",
                hint="--base takes `debian`, a docker:// URI, or the path of an image file",
            )
        if self.cuda is not None and self.cuda.partition(".")[0] not in _CUDA_LOCKS:
            raise ImageError(
                f"no lock file for CUDA {self.cuda}: there are those of {', '.join(_CUDA_LOCKS)}",
                hint="CUDA is compatible with newer drivers: choose the newest that is not newer than the driver's",
            )


def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(containers_folder()),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # no HTML; values are checked
    )


def recipe_for(
    site: Site | None, *, mpi: Mpi | None = None, cuda: str | None = None, base: str | None = None, mirror: str = ""
) -> Recipe:
    """What a site's image is made of; arguments come before what the site file says.

    Raises
    ------
    ImageError
        If the base is relative to no folder, or unknown.
    """
    wanted = site.container if site is not None else None
    named = base or (wanted.base if wanted is not None else None) or "debian"
    if named != "debian" and not named.startswith("docker://"):
        if "://" in named:
            raise ImageError(
                f"base {named!r} is of no known kind", hint="there are `debian`, docker://… and paths of image files"
            )
        named = str(expand(named).absolute())
    return Recipe(
        base=named,
        mpi=mpi or (mpi_of(site) if site is not None else "openmpi"),
        cuda=cuda or (wanted.cuda if wanted is not None else None),
        mirror=(mirror or apt_mirror()) if named == "debian" else "",
        site=site.name if site is not None else "",
    )


def mpi_of(site: Site) -> Mpi:
    """The MPI whose ABI that of a site has; none where ranks are not started by MPI."""
    if site.mpi.launcher == "none" or site.mpi.flavour is None:
        return "none" if site.mpi.launcher == "none" else "openmpi"
    return _FAMILY[site.mpi.flavour]


def apt_mirror(root: Path = Path("/etc/apt")) -> str:
    """The mirror that this machine's own packages come from; empty if it is no Debian."""
    for path in [root / "sources.list", *sorted((root / "sources.list.d").glob("*"))]:
        text = path.read_text(errors="replace") if path.is_file() else ""
        pattern = r"^(?:deb\s+(?:\[[^]]*\]\s+)?|URIs:\s*)(https?://\S+/debian/?)(?=\s|$)"
        match = re.search(pattern, text, re.MULTILINE)
        if match is not None:
            return match.group(1).rstrip("/")
    return ""
