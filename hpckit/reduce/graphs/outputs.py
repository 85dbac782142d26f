"""What graphs of a run have become, with digests of content: stored parts, and result files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from hpckit.cubes.made import Made, array_of, of_shards
from hpckit.cubes.manifest import Manifest
from hpckit.reduce.graphs import files
from hpckit.reduce.graphs.job import Output
from hpckit.reduce.graphs.work import Work


def made(works: Sequence[Work]) -> Iterable[Made]:
    """Arrays and parts of all results, and their files."""
    for work in works:
        for output in work.job.outputs:
            yield from _stored(work, output)
            if output.format:
                yield from _files(work, output)


def _stored(work: Work, output: Output) -> Iterable[Made]:
    keys: dict[str, list[str]] = {}
    for piece in work.pieces(output):
        for key in work.keys(output, piece):
            keys.setdefault(array_of(key), []).append(key)
    return of_shards(work.path.name, Manifest.load(work.path, [output.key]), keys)


def _files(work: Work, output: Output) -> Iterator[Made]:
    note = files.note_path(work.tiles.campaign, work.reduction, output)
    facts = files.facts(note) if files.noted(note)[0] == files.made_from(work.inputs, output) else {}
    if not facts:
        yield Made(f"{work.reduction.name}/{output.key}", "file", "", 0, 0, missing=1)
    for name, (size, digest) in sorted(facts.items()):
        yield Made(f"{work.reduction.name}/{name}", "file", digest, 1, size, note.parent / name)
