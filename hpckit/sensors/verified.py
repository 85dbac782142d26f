"""Files of products are compared with the checksums of their product before they are decoded: each once.

What was found right is noted in the run directory, by size and time stamp, for all processes and later runs. Products
without checksums cannot be compared, nor can arrays of a Zarr hierarchy; in zip files each file has one of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hpckit.base.seen import Seen
from hpckit.errors import SceneError, is_temporary
from hpckit.sensors.integrity import UnverifiableError, check_archive, check_files
from hpckit.sensors.model import Scene

_RIGHT: Final = "as its product says"


class _Notes:
    """What this process knows of files."""

    def __init__(self) -> None:
        self.folder: tuple[Path, str] | None = None
        self.wrong: dict[tuple[str, str, int, int, int], str] = {}
        self._seen: Seen | None = None

    @property
    def seen(self) -> Seen:
        """Notes of all processes, read when they are first asked for."""
        if self._seen is None:
            self._seen = Seen(None, "") if self.folder is None else Seen(*self.folder)
        return self._seen

    def keep_in(self, folder: Path, writer: str) -> None:
        """Keep notes in a folder."""
        self.folder, self._seen = (folder, writer), None


_notes: Final = _Notes()


def keep_notes(folder: Path, writer: str) -> None:
    """Keep notes in a folder from now on, under the name of this process."""
    _notes.keep_in(folder, writer)


def verify_file(scene: Scene, key: str) -> None:
    """Compare the file of a band with the checksum that its product has of it, if that was not done yet.

    Raises
    ------
    SceneError
        If it differs, or cannot be read.
    """
    asset = scene.assets[key]
    if asset.array:
        return  # EOPF products list no checksums; damage shows when chunks are decoded
    if asset.is_remote:
        return  # compared when it is brought here whole; what is read in parts cannot be
    path, name = asset.file, asset.uri
    try:
        status = path.stat()
    except OSError as error:
        raise SceneError(f"{scene.id}: {path.name} cannot be read") from error
    right = f"{_RIGHT} {scene.content}".rstrip()  # a product that replaced another one counts for itself
    if _notes.seen.has(name, status, right):
        return
    _notes.seen.refresh()
    if _notes.seen.has(name, status, right):
        return
    state = (name, right, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if state in _notes.wrong:
        raise SceneError(_notes.wrong[state])
    try:
        _compare(scene, key)
    except SceneError as error:
        if not is_temporary(error):
            _notes.wrong[state] = str(error)
        raise
    _notes.seen.add([(name, status, right)])


def verify_ahead(files: Iterable[tuple[Scene, str]], share: float) -> None:
    """Compare files that are about to be read, beginning with another one than processes that work beside.

    What is wrong is said when a file is read.

    Parameters
    ----------
    share : float
        Where to begin, 0 to 1.
    """
    listed = list(files)
    first = int(share * len(listed))
    for scene, key in [*listed[first:], *listed[:first]]:
        try:
            verify_file(scene, key)
        except (SceneError, KeyError):
            continue


def _compare(scene: Scene, key: str) -> None:
    try:
        check_files(scene, [key])
    except UnverifiableError:
        check_archive(scene, key)
