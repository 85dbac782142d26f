"""What a campaign file may say of one sensor only, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from hpckit.base.seen import Seen
from hpckit.sensors.model import Dropped, Scene

if TYPE_CHECKING:
    import shapely

    from hpckit.sensors.sensor import Sensor


class SensorOptions(BaseModel):
    """Options of a sensor in a campaign file; this one has none."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, allow_inf_nan=False)

    def sensor(self, general: Sensor) -> Sensor:
        """The sensor as the options make it, where its bands depend on them.

        Parameters
        ----------
        general : Sensor
            As it is without options.
        """
        return general

    def require(self, level: str) -> None:
        """Refuse options that do not suit products of a level.

        Raises
        ------
        ValueError
            Names the option.
        """

    def require_one_view(self) -> None:
        """Refuse composites of passes that see the land differently.

        Raises
        ------
        ValueError
            Says what would be mixed, and which option to set: the end of a sentence `composite NAME would mix …`.
        """

    def files(self) -> dict[str, Path]:
        """Files that the options name, by option."""
        return {}

    def look(self, resolve: Callable[[Path], Path], area: shapely.Geometry) -> Iterator[tuple[str, str, str]]:
        """Open the files that the options name: each option, what its file is, and what is wrong with it.

        Parameters
        ----------
        resolve : callable
            Absolute form of a path of the campaign file.
        area : shapely geometry
            Area of interest, in longitude and latitude.

        Raises
        ------
        SceneError
            If one cannot be used.
        """
        return iter(())

    def contents(self, resolve: Callable[[Path], Path], seen: Seen) -> dict[str, str]:
        """Digests of the files that the options name, by option: pixels depend on them, and not on their names.

        Parameters
        ----------
        seen : Seen
            Files whose digest is known, as long as they stay as they are.

        Raises
        ------
        SceneError
            If one is not there, or not of a format that can be read.
        """
        return {}

    def reading(self, level: str, resolve: Callable[[Path], Path], contents: Mapping[str, str]) -> Any:
        """What the reader of windows needs of the options: hashable; None if that is nothing.

        Parameters
        ----------
        resolve : callable
            Absolute form of a path of the campaign file.
        contents : mapping of str to str
            What `contents` gave; empty where nothing was planned.
        """
        return None

    def choose(self, scenes: Sequence[Scene]) -> tuple[list[Scene], list[Dropped]]:
        """Scenes that the options ask for; the others with the reason."""
        return list(scenes), []
