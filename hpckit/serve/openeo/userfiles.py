"""Files of users (`/files`): a folder for each, with a quota."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hpckit.base.files import make_folder
from hpckit.serve.files import send_file
from hpckit.serve.openeo.errors import OpenEoError
from hpckit.serve.openeo.jobfolder import stamp
from hpckit.serve.openeo.paging import page
from hpckit.serve.openeo.users import User

_LONGEST: Final = 1024
_DEEPEST: Final = 16
_PARTIAL: Final = ".upload-"


class UserFiles:
    """The files of all users.

    Parameters
    ----------
    folder : Path
        In which each user has a folder.
    quota : int
        Bytes of a user.
    """

    def __init__(self, folder: Path, quota: int) -> None:
        self.folder = folder
        self.quota = quota

    def of(self, user: User) -> Path:
        """Folder of a user, which need not be there."""
        return self.folder / user.id

    def used(self, user: User) -> int:
        """Bytes that the files of a user take, those that are being sent included."""
        return sum(path.stat().st_size for path in self.of(user).rglob("*") if path.is_file())

    def listed(self, request: Request, user: User) -> Response:
        """All files (GET /files)."""
        folder = self.of(user)
        found = [_described(path, folder) for path in _files(folder)]
        shown, links = page(request, found)
        return JSONResponse({"files": shown, "links": links})

    def read(self, request: Request, user: User, name: str) -> Response:
        """A file (GET /files/{path}), whole or in part."""
        path = self._place(user, name)
        if path.is_dir():
            raise OpenEoError("FileOperationUnsupported", f"{name!r} is a folder")
        if not path.is_file():
            raise _missing(name)
        return send_file(request, self.of(user), name)

    async def write(self, request: Request, user: User, name: str) -> Response:
        """Take a file (PUT /files/{path}); it is there as a whole, or not at all."""
        path, folder = self._place(user, name), self.of(user)
        if path.is_dir() or any(parent.is_file() for parent in path.parents):
            raise OpenEoError("FilePathInvalid", f"{name!r}: a folder has that name, or a file that of a folder")
        make_folder(folder)
        left = self.quota - self.used(user) + (path.stat().st_size if path.exists() else 0)
        sent = folder / f"{_PARTIAL}{secrets.token_hex(8)}"
        try:
            with sent.open("xb") as file:
                async for chunk in request.stream():
                    left -= len(chunk)
                    if left < 0:
                        hint = f"you may store {self.quota // 2**20} MiB; delete files that are not needed"
                        raise OpenEoError("StorageQuotaExceeded", "there is no room for this file", hint=hint)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            make_folder(path.parent)
            sent.replace(path)
        except OSError:
            raise OpenEoError("StorageFailure", "the file cannot be stored at the moment") from None
        finally:
            sent.unlink(missing_ok=True)
        return JSONResponse(_described(path, folder))

    def delete(self, user: User, name: str) -> Response:
        """Delete a file (DELETE /files/{path}), and folders that are empty then."""
        path, folder = self._place(user, name), self.of(user)
        if path.is_dir():
            raise OpenEoError("FileOperationUnsupported", f"{name!r} is a folder", hint="delete its files one by one")
        if not path.is_file():
            raise _missing(name)
        path.unlink()
        for parent in path.parents:
            if parent == folder or any(parent.iterdir()):
                break
            parent.rmdir()
        return Response(status_code=204)

    def tidy(self) -> None:
        """Remove what was being sent when the server was killed."""
        for path in self.folder.glob(f"*/{_PARTIAL}*"):
            path.unlink(missing_ok=True)

    def free(self) -> int:
        """Bytes that the file system has left."""
        make_folder(self.folder)
        return shutil.disk_usage(self.folder).free

    def _place(self, user: User, name: str) -> Path:
        parts = name.split("/")
        strange = any(part in ("", ".", "..") or part.startswith(".") for part in parts)
        if strange or "\\" in name or not name.isprintable():
            reason = "write a relative path of printable characters, without parts that begin with a dot"
            raise OpenEoError("FilePathInvalid", f"{name!r}: {reason}")
        if len(name.encode()) > _LONGEST or len(parts) > _DEEPEST or any(len(part.encode()) > 200 for part in parts):
            raise OpenEoError("FilePathInvalid", "the path is too long")
        return self.of(user).joinpath(*parts)


def _files(folder: Path) -> Iterator[Path]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(_PARTIAL))
    yield from sorted(found)


def _described(path: Path, folder: Path) -> dict[str, Any]:
    status = path.stat()
    return {"path": str(path.relative_to(folder)), "size": status.st_size, "modified": stamp(status.st_mtime)}


def _missing(name: str) -> OpenEoError:
    return OpenEoError("FileNotFound", f"there is no file {name!r}")
