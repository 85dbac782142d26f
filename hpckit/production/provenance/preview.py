"""A crate for people: one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hpckit.base.quantities import format_bytes, format_count, format_duration
from hpckit.cubes.made import Made
from hpckit.production.provenance.record import Record

_TEMPLATE: Final = "preview.html.j2"
_SHOWN: Final = 200


def preview(record: Record, files: Mapping[str, bytes]) -> bytes:
    """Content of `ro-crate-preview.html`.

    Parameters
    ----------
    files : mapping of str to bytes
        Other files of the crate.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"bytes": format_bytes, "duration": format_duration, "brief": lambda text: text[:16]}
    text = environment.get_template(_TEMPLATE).render(
        record=record,
        campaign=record.run.campaign,
        files=[(name, len(content)) for name, content in sorted(files.items())],
        lasted_s=(record.end - record.start).total_seconds(),
        amount=_amount,
        count=format_count,
        shown=_SHOWN,
    )
    return text.encode()


def _amount(made: Made) -> str:
    what = {"shards": "shard", "signatures": "row", "file": "file"}[made.kind]
    size = f", {format_bytes(made.nbytes)}" if made.nbytes else ""
    return format_count(made.count, what) + size
