"""An object store on loopback: folders are buckets, lists come in pages, and it misbehaves as asked.

Only what readers ask for: ranges of objects, and lists of the second version (ListObjectsV2).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.servers.files import Fault, FileServer, Handler


@dataclass(slots=True)
class Bucket(FileServer):
    """Buckets below a folder."""

    lists: list[str] = field(default_factory=list)
    """Prefix of each list that was asked for; a further page of a list counts for itself."""
    list_faults: dict[str, Fault] = field(default_factory=dict)
    """Answers lists of a prefix instead of the store."""
    page: int = 1000

    def answer(self, handler: Handler) -> None:
        """Answer a request."""
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if "list-type" not in query:
            FileServer.answer(self, handler)
            return
        prefix = query.get("prefix", "")
        with self.lock:
            self.lists.append(prefix)
        fault = self.list_faults.get(prefix)
        if fault is not None:
            fault(handler, b"", 0, 0)
            return
        content = self._page(self.folder / unquote(parts.path).strip("/"), prefix, query)
        handler.send_response(200)
        handler.send_header("Content-Type", "application/xml")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _page(self, bucket: Path, prefix: str, query: dict[str, str]) -> bytes:
        entries = sorted(_entries(bucket, prefix, query.get("delimiter", "")))
        after = query.get("continuation-token", "")
        shown = [entry for entry in entries if entry[0] > after][: self.page]
        is_cut = bool(shown) and shown[-1] != entries[-1]
        rows = "".join(_row(bucket, name, is_folder=is_folder) for name, is_folder in shown)
        token = f"<NextContinuationToken>{escape(shown[-1][0])}</NextContinuationToken>" if is_cut else ""
        return (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket.name}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(shown)}</KeyCount>"
            f"<MaxKeys>{self.page}</MaxKeys><IsTruncated>{str(is_cut).lower()}</IsTruncated>{token}{rows}"
            "</ListBucketResult>"
        ).encode()


def _entries(bucket: Path, prefix: str, delimiter: str) -> set[tuple[str, bool]]:
    """Keys, or what they have in common up to the delimiter, and whether it is that."""
    found = set()
    top = bucket / prefix.rpartition("/")[0]
    for folder, _, names in os.walk(top, followlinks=True):
        for name in names:
            key = (Path(folder) / name).relative_to(bucket).as_posix()
            if key.startswith(prefix):
                head, cut, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
                found.add((f"{prefix}{head}{cut}", True) if cut else (key, False))
    return found


def _row(bucket: Path, name: str, *, is_folder: bool) -> str:
    if is_folder:
        return f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
    status = (bucket / name).stat()
    return (
        f"<Contents><Key>{escape(name)}</Key><LastModified>2024-03-05T12:00:00.000Z</LastModified>"
        f"<ETag>&quot;{status.st_mtime_ns:x}&quot;</ETag><Size>{status.st_size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )
