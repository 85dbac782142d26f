"""How a job enters its image: the words before `hpckit`, and what of the outside is seen within."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hpckit.base.apptainer import split_bind, variable_prefix
from hpckit.sites.parts import Container
from hpckit.sites.site import Site

PASSED: Final = (
    *("PMI*", "OMPI_*", "PALS_*", "HYDI*", "HYDRA_*", "MPI*", "I_MPI_*", "UCX_*", "FI_*", "PSM*"),
    *("CUDA_*", "NVIDIA_*", "ROCR_*", "HPCKIT_*", "OMP_*", "NUMBA_*", "OPENBLAS_*", "GDAL_*", "BLOSC_*"),
    *("PG*", "TMPDIR", "HOSTNAME", "USER", "LOGNAME"),
)
"""Variables that get in beside those of the scheduler: of ranks, networks, GPUs, threads, and of the database."""
_VARIABLE: Final = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


@dataclass(frozen=True, slots=True)
class Bind:
    """A folder of the outside; source and target are words of bash, quoted."""

    source: str
    target: str
    options: str = ""


def in_image(site: Site, variables: Sequence[str], binds: Sequence[Path], *, gpus: bool) -> dict[str, Any] | None:
    """What a job script needs to enter the image of a site; None where jobs run without one.

    Parameters
    ----------
    variables : sequence of str
        Patterns of the scheduler's variables that ranks need.
    binds : sequence of Path
        What the campaign names.
    gpus : bool
        Whether the job has some: then the driver is let in.
    """
    if site.runtime != "apptainer":
        return None
    container = site.container
    assert container.image is not None
    return {
        "command": container.command,
        "image": expandable(container.image),
        # Without --no-eval values of variables are run as shell: launchers put command lines into some.
        "options": [
            "--no-eval",
            *(["--nv"] if gpus else []),
            *(["--cleanenv"] if container.cleanenv else []),
            *container.options,
        ],
        "binds": [*(_bind(text) for text in container.binds), *_plain(binds), *_mpi(container)],
        "passed": "|".join((*variables, *PASSED, *site.environment)) if container.cleanenv else "",
        "prefix": variable_prefix(container.command),
        "mpi_folder": None if container.mpi_folder is None else expandable(container.mpi_folder),
    }


def expandable(text: str) -> str:
    """A word of bash in which variables are expanded and nothing else is.

    >>> expandable("/scratch/$USER/it's here"), expandable("$(rm -rf ~)")
    ('/scratch/"${USER:-}"\\'/it\\'"\\'"\\'s here\\'', "'$(rm -rf ~)'")
    """
    words, end = [], 0
    for match in _VARIABLE.finditer(text):
        words += [text[end : match.start()], f'"${{{match[1] or match[2]}:-}}"']
        end = match.end()
    words.append(text[end:])
    return "".join(word if number % 2 else shlex.quote(word) for number, word in enumerate(words) if word) or "''"


def _bind(text: str) -> Bind:
    source, target, options = split_bind(text)
    return Bind(expandable(source), expandable(target), shlex.quote(options) if options else "")


def _plain(paths: Iterable[Path]) -> list[Bind]:
    return [Bind(shlex.quote(str(path)), shlex.quote(str(path))) for path in paths]


def _mpi(container: Container) -> list[Bind]:
    return [_bind(f"{container.mpi_folder}")] if container.mpi == "bind" else []
