"""What process graphs need of the world, where campaigns are the collections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpckit.errors import GraphError
from hpckit.processgraph.process import Request
from hpckit.reduce.graphs.collection import Collection, open_collection
from hpckit.reduce.graphs.source import CollectionSource, open_source


@dataclass(eq=False)
class GraphEnvironment:
    """Collections by name, each opened when a graph first asks for it.

    Parameters
    ----------
    paths : mapping of str to Path
        Campaign file, or run directory, of each collection.
    """

    paths: Mapping[str, Path]
    opened: dict[str, Collection] = field(default_factory=dict)
    sources: list[CollectionSource] = field(default_factory=list)
    """All that was loaded, in the order of the first load."""

    def load_collection(self, name: str, request: Request) -> CollectionSource:
        """Open a collection for an extent, a period, bands and properties.

        Raises
        ------
        GraphError
            `CollectionNotFound` if there is none of that name; else the argument at fault.
        """
        if name not in self.opened:
            if name not in self.paths:
                listed = ", ".join(sorted(self.paths)) or "none"
                raise GraphError(
                    f"there is no collection {name!r}", hint=f"there is {listed}", fault="CollectionNotFound"
                )
            self.opened[name] = open_collection(name, self.paths[name])
        found = open_source(self.opened[name], request)
        self.sources.append(found)
        return found
