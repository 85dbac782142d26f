"""Runs code of users for graphs: in the image that its runtime names, in one sandbox for each image."""

from __future__ import annotations

import atexit
import logging
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from hpckit.base.files import digest_json, write_json
from hpckit.base.reading import read_json
from hpckit.errors import GraphError, UserCodeError
from hpckit.processgraph.cube import Cube, Dimension
from hpckit.processgraph.usercode import UserCode
from hpckit.reduce.udf import dependencies
from hpckit.reduce.udf.fitting import assumed, block_of, fitted, without_pixels
from hpckit.reduce.udf.sandbox import Image, Log, Sandbox
from hpckit.sites.image.sif import require_usable
from hpckit.sites.udf import Udf, UdfRuntime

_FAULT: Final = "UdfFailed"
_PLACE: Final = re.compile(r'File "udf\.py", line (\d+), in (\w+)')
_log: Final = logging.getLogger(__name__)


def _to_logging(level: str, text: str) -> None:
    _log.log(logging.getLevelNamesMapping().get(level.upper(), logging.INFO), "%s", text)


class UserCodeRunner:
    """Code of users in sandboxes of this process.

    Parameters
    ----------
    settings : Udf
    trials : Path, optional
        Folder with what code made of a sample, which all processes of a run share.
    scratch : Path, optional
        Folder on node-local disk; a temporary one if it is not given.
    cores : int
        That code may use.
    log : callable, optional
        Gets what code prints; by default the log of this process does.
    """

    def __init__(
        self,
        settings: Udf,
        *,
        trials: Path | None = None,
        scratch: Path | None = None,
        cores: int = 1,
        log: Log = _to_logging,
    ) -> None:
        self.settings, self.trials, self.cores, self.log = settings, trials, cores, log
        self._scratch = scratch
        self._sandboxes: dict[Image, Sandbox] = {}
        self._known: dict[str, tuple[Dimension, ...]] = {}

    def run(self, code: UserCode, data: Cube, sample: Callable[[], Cube]) -> Cube:
        """Run code on a cube; of one without values, say what the code makes of it.

        Raises
        ------
        GraphError
            If there is no such runtime, the code fails, passes a limit, or returns something unfit.
        """
        if data.values.size == 0:
            return without_pixels(data, self._dimensions(code, data, sample))
        return self._fitted(code, data)

    def require_runtime(self, code: UserCode) -> None:
        """Refuse a runtime or version that there is not, and a list of packages that cannot be read; run nothing.

        Raises
        ------
        GraphError
            `InvalidRuntime` or `InvalidVersion`, or what is wrong with the list.
        """
        self._runtime(code)
        try:
            dependencies.wanted(code.code)
        except UserCodeError as error:
            raise GraphError(error.message, hint=error.hint, fault=_FAULT) from None

    def close(self) -> None:
        """End all containers."""
        for sandbox in self._sandboxes.values():
            sandbox.close()
        self._sandboxes.clear()

    def _fitted(self, code: UserCode, data: Cube) -> Cube:
        try:
            made = self._sandbox(code).call(code.code, block_of(data), code.context)
            return fitted(code, data, made)
        except UserCodeError as error:
            if error.traceback:
                self.log("error", error.traceback)
            where = _PLACE.findall(error.traceback)
            place = f" (line {where[-1][0]} of the code, in {where[-1][1]})" if where else ""
            raise GraphError(f"{error.message}{place}", hint=error.hint, fault=_FAULT) from None

    def _dimensions(self, code: UserCode, data: Cube, sample: Callable[[], Cube]) -> tuple[Dimension, ...]:
        """Dimensions of what code makes of a cube: found once for a run, by a trial on a small part."""
        key = _key(code, data)
        if key not in self._known:
            self._known[key] = self._noted(key) or self._tried(key, code, data, sample)
        if code.process not in ("apply_dimension", ""):
            return assumed(code, data)
        return _with_known(self._known[key], data)

    def _tried(self, key: str, code: UserCode, data: Cube, sample: Callable[[], Cube]) -> tuple[Dimension, ...]:
        part = sample()
        if part.values.size == 0:
            return assumed(code, data)
        found = self._fitted(code, part).dims
        if self.trials is not None:
            dims = [[dim.name, dim.kind, dim.axis, list(dim.labels)] for dim in found]
            write_json(self.trials / f"{key}.json", {"dimensions": dims})
        return found

    def _noted(self, key: str) -> tuple[Dimension, ...] | None:
        path = None if self.trials is None else self.trials / f"{key}.json"
        if path is None or not path.exists():
            return None
        known: list[Any] = read_json(path)["dimensions"]
        return tuple(Dimension(name, kind, tuple(labels), axis) for name, kind, axis, labels in known)

    def _sandbox(self, code: UserCode) -> Sandbox:
        image = self.image(code)
        if image not in self._sandboxes:
            folder = self._folder() / str(len(self._sandboxes))
            folder.mkdir()
            self._sandboxes[image] = Sandbox(image, self.settings.limits, folder, cores=self.cores, log=self.log)
        return self._sandboxes[image]

    def image(self, code: UserCode) -> Image:
        """Image of some code, with the packages that it asks for.

        Raises
        ------
        GraphError
            `InvalidRuntime`, `InvalidVersion`, or packages that are missing.
        """
        runtime = self._runtime(code)
        image = Image(Path(runtime.image), runtime.python, network=self.settings.network)
        try:
            wanted = dependencies.wanted(code.code)
            if not wanted:
                return image
            packages = dependencies.folder_for(wanted, self.settings, image, self._describe)
        except UserCodeError as error:
            raise GraphError(error.message, hint=error.hint, fault=_FAULT) from None
        return replace(image, packages=packages)

    def _runtime(self, code: UserCode) -> UdfRuntime:
        known = {name.lower(): runtime for name, runtime in self.settings.runtimes.items()}
        runtime = known.get(str(code.runtime).lower())
        if runtime is None and "/" in str(code.runtime):
            return self._own_image(code)
        if runtime is None:
            listed = ", ".join(self.settings.runtimes) or "none"
            raise GraphError(
                f"there is no runtime {code.runtime!r}", hint=f"there is {listed}", fault="InvalidRuntime"
            )
        if code.version is not None and runtime.version is not None and not _is_of(runtime.version, code.version):
            raise GraphError(
                f"runtime {code.runtime} has version {runtime.version}, and not {code.version}",
                hint="leave `version` out",
                fault="InvalidVersion",
            )
        return runtime

    def _own_image(self, code: UserCode) -> UdfRuntime:
        path = Path(code.runtime)
        if not self.settings.allows(path):
            listed = ", ".join(self.settings.images)
            raise GraphError(
                f"images of users are not taken from {path.parent}",
                hint=f"the site allows those in {listed}" if listed else "the site allows none; use its runtimes",
                fault="InvalidRuntime",
            )
        require_usable(path)
        return UdfRuntime(image=str(path))

    def _describe(self, image: Image) -> Mapping[str, Any]:
        folder = self._folder() / f"describe{len(self._sandboxes)}"
        folder.mkdir(exist_ok=True)
        with Sandbox(image, self.settings.limits, folder, log=self.log) as sandbox:
            return sandbox.describe()

    def _folder(self) -> Path:
        if self._scratch is None:
            self._scratch = _new_folder(self.settings.scratch)
            atexit.register(shutil.rmtree, self._scratch, ignore_errors=True)
        if not self._sandboxes:
            atexit.register(self.close)
        return self._scratch


def _new_folder(inside: str | None) -> Path:
    if inside is None:
        return Path(tempfile.mkdtemp(prefix="hpckit-udf-"))
    folder = Path(os.path.expandvars(inside)) / f"hpckit-udf-{uuid.uuid4().hex[:12]}"
    try:
        folder.mkdir()
    except OSError as error:
        raise GraphError(
            f"user code has no folder for temporary files: {folder.parent}: {error.strerror}",
            hint="correct `udf.scratch` in the site file",
            fault=_FAULT,
        ) from None
    return folder


def _key(code: UserCode, data: Cube) -> str:
    """Digest of code, and of what it gets, beside pixels."""
    dims = [[dim.name, dim.kind, [] if dim.axis else list(dim.labels)] for dim in data.dims]
    what = [code.code, code.runtime, code.version, code.context, code.process, code.dimension]
    return digest_json([what, dims, str(data.values.dtype)])[:32]


def _with_known(found: tuple[Dimension, ...], data: Cube) -> tuple[Dimension, ...]:
    """Dimensions that a sample kept, as the whole cube has them."""
    return tuple(
        data.dim(dim.name) if dim.name in data.names and _is_kept(data.dim(dim.name), dim) else dim for dim in found
    )


def _is_kept(known: Dimension, found: Dimension) -> bool:
    return bool(known.axis) or known.kind == "geometry" or known.labels == found.labels


def _is_of(version: str, wanted: str) -> bool:
    return (version + ".").startswith(wanted + ".") or (wanted + ".").startswith(version + ".")
