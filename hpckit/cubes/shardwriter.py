"""Writing shards: chunks, index and seal are joined to a file, which is put in place at once, and recorded."""

from __future__ import annotations

from collections.abc import Sequence

from hpckit.base.files import digest
from hpckit.cubes.manifest import ShardRecord
from hpckit.cubes.objects import Objects
from hpckit.cubes.shards import assemble, seal_of


def write_shard(
    objects: Objects, key: str, chunks: Sequence[bytes | None], inputs: tuple[str, ...], *, sharded: bool = True
) -> ShardRecord:
    """Write a shard, or delete it where all of it is fill value.

    Parameters
    ----------
    chunks : sequence of bytes or None
        Encoded chunks in C order, None for fill value.
    inputs : tuple of str
        Digest of what each date was made from.
    sharded : bool
        Whether files have an index; else there is one chunk, which is the file.

    Raises
    ------
    OSError
        If the file system refuses (full, quota, gone); the shard is as it was then.
    """
    data = assemble(chunks) if sharded else chunks[0]
    if data is None:
        objects.delete(key)
        return ShardRecord(key, 0, "", inputs)
    objects.put(key, data)
    seal = seal_of(data, len(chunks) if sharded else None)
    return ShardRecord(key, len(data), digest(data), inputs, 0, seal, objects.status(key).st_mtime_ns)
