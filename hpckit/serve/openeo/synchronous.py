"""Graphs that are computed while the client waits (`POST /result`): a process each, within limits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from hpckit.base.files import make_folder, write_json
from hpckit.base.quantities import format_bytes, format_duration
from hpckit.serve.openeo.errors import OpenEoError
from hpckit.serve.openeo.graphs import Graphs
from hpckit.serve.openeo.settings import Synchronous
from hpckit.serve.openeo.users import User

_AS_JOB: Final = "submit it as a batch job"
_WAITING: Final = 20
_LEAST_FILE_MIB: Final = 256
"""Files are larger before they are compressed."""
_FOLDER: Final = "sync-"
ANSWER: Final = "answer.json"
QUESTION: Final = "question.json"


class SynchronousGraphs:
    """Computes graphs at once.

    Parameters
    ----------
    graphs : Graphs
        What checks them.
    limits : Synchronous
        Of the settings.
    folder : Path
        For what is computed, until it is sent.
    """

    def __init__(self, graphs: Graphs, limits: Synchronous, folder: Path) -> None:
        self.graphs = graphs
        self.limits = limits
        self.folder = folder
        self._turns = CapacityLimiter(limits.at_once)
        self._ready = _Ready(
            ["--memory-mib", str(limits.memory_mib), "--file-mib", str(max(_LEAST_FILE_MIB, 4 * limits.result_mib))]
        )
        self._held = 0

    async def answer(self, request: Request, user: User, process: dict[str, Any]) -> Response:
        """The result of a process: its file, or an archive of several.

        Raises
        ------
        OpenEoError
            If the graph is faulty, takes too long, or more than is allowed.
        """
        await run_in_threadpool(self._require_small, request, user, process)
        if self._held >= self.limits.at_once + _WAITING:
            raise OpenEoError("InfrastructureBusy", "too many graphs wait", headers={"Retry-After": "10"})
        self._held += 1
        try:
            async with self._turns:
                if await request.is_disconnected():
                    return Response(status_code=499)
                folder = await run_in_threadpool(self._question, request, user, process)
                try:
                    try:
                        await run_sync(self._compute, folder, abandon_on_cancel=False)
                    finally:
                        self.graphs.on_demand.release(folder.name)
                    return await run_in_threadpool(self._response, folder)
                except BaseException:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
        finally:
            self._held -= 1

    def tidy(self) -> None:
        """Remove what a server that was killed left."""
        for path in self.folder.glob(f"{_FOLDER}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _require_small(self, request: Request, user: User, process: dict[str, Any]) -> None:
        self.graphs.require_sound(request, user, process)
        found = self.graphs.estimate(request, user, process)
        if found.seconds > self.limits.seconds:
            raise _complex(
                f"the graph would take about {format_duration(found.seconds)}, and"
                f" {format_duration(self.limits.seconds)} are allowed here"
            )
        if found.bytes > self.limits.result_mib * 2**20:
            raise _complex(
                f"the result would have about {format_bytes(found.bytes)}, and {self.limits.result_mib} MiB are"
                " allowed here"
            )

    def _question(self, request: Request, user: User, process: dict[str, Any]) -> Path:
        make_folder(self.folder)
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER, dir=self.folder))
        try:
            asked = self.graphs.question(request, user, process, folder.name, 2 * self.limits.seconds)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        write_json(folder / QUESTION, asked)
        return folder

    def _compute(self, folder: Path) -> None:
        """Compute in a process of its own; it and what it started end with the limits."""
        process = self._ready.take()
        try:
            process.communicate(f"{folder}\n".encode(), self.limits.seconds * 2)
        except subprocess.TimeoutExpired:
            raise _complex(f"the graph was not done after {format_duration(self.limits.seconds * 2)}") from None
        finally:
            _end(process)
        answer = _answer(folder)
        if answer is None:
            raise _complex("the graph needs more memory than is allowed here, or its process was killed")
        if "code" in answer:
            raise OpenEoError(answer["code"], answer["message"])

    def close(self) -> None:
        """End the process that waits."""
        self._ready.close()

    def _response(self, folder: Path) -> Response:
        files = (_answer(folder) or {})["files"]
        paths = [folder / item["path"] for item in files]
        size = sum(_size(path) for path in paths)
        if size > self.limits.result_mib * 2**20:
            raise _complex(f"the result has {format_bytes(size)}, and {self.limits.result_mib} MiB are allowed here")
        gone = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
        headers = {"OpenEO-Costs": "0", "Cache-Control": "no-store"}
        if len(paths) == 1 and paths[0].is_file():
            return FileResponse(paths[0], headers=headers, media_type=files[0]["media_type"], background=gone)
        # Several files, or the folder of a Zarr hierarchy (openEO API 1.2: a tar archive).
        archive = folder / "result.tar"
        with tarfile.open(archive, "w") as tar:
            for path in paths:
                tar.add(path, path.name)
        return FileResponse(archive, headers=headers, media_type="application/x-tar", background=gone)


class _Ready:
    """A process that has imported all it needs, and waits for a graph: imports take longer than small graphs.

    Parameters
    ----------
    words : list of str
        Its limits.
    """

    def __init__(self, words: list[str]) -> None:
        self._command = [sys.executable, "-m", "hpckit.serve.openeo.computing", *words]
        self._lock = threading.Lock()
        self._waiting: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def take(self) -> subprocess.Popen[bytes]:
        """A process, for one graph; the next one is started."""
        with self._lock:
            process, self._waiting = self._waiting, None
            if not self._is_closed:
                self._waiting = self._start()
        return process if process is not None and process.poll() is None else self._start()

    def close(self) -> None:
        """End the one that waits."""
        with self._lock:
            self._is_closed = True
            process, self._waiting = self._waiting, None
        if process is not None:
            _end(process)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )


def _answer(folder: Path) -> Mapping[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / ANSWER).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def _complex(why: str) -> OpenEoError:
    return OpenEoError("ProcessGraphComplexity", why, hint=_AS_JOB)
