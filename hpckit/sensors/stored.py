"""Products of the Sentinels in object stores: which folders may hold some that are wanted, and how they are read.

Names of folders and products tell day, level and tile, so that of a store with the whole world nothing else is asked
for. Elsewhere products are known by what they hold; here each look costs a request.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

from hpckit.errors import SceneError
from hpckit.inputs.hierarchy import Hierarchy
from hpckit.inputs.stored import StoredFiles
from hpckit.inputs.transfer import digest_of_tag
from hpckit.inputs.uri import name_of
from hpckit.sensors.content import content_of
from hpckit.sensors.integrity import MANIFEST, listed_files, spelt_digest
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.sentinel1 import product as sentinel1
from hpckit.sensors.sentinel1.eopf.product import is_group, read_eopf
from hpckit.sensors.sentinel1.grd import beside
from hpckit.sensors.sentinel1.product import named
from hpckit.sensors.sentinel2 import aws
from hpckit.sensors.sentinel2 import product as sentinel2
from hpckit.sensors.sentinel2.eopf.product import read_scene
from hpckit.sensors.sentinel2.eopf.told import is_sentinel2

_ENDINGS: Final = (".SAFE", ".zarr")
_SENTINEL2: Final = re.compile(
    r"S2[A-Z]_MSI(?P<level>L1C|L2A)_(?P<start>\d{8}T\d{6})_(?:N\d{4}_)?R\d{3}_T(?P<tile>\d{2}[A-Z]{3})_"
)
_EOPF: Final = re.compile(r"S0[12][A-Z]{2,3}(?P<level>L1C|L2A|GRD)_(?P<start>\d{8}T\d{6})_")
"""New names of EOPF Zarr have no tile."""
_SENTINEL1: Final = re.compile(r"S1[A-Z]_[A-Z0-9]{2}_(?P<level>[A-Z]{3})[FHM_]_.{4}_(?P<start>\d{8}T\d{6})_")
_OLD: Final = re.compile(r"S2[A-Z]_(?:OPER|USER)_PRD_MSI(?P<level>L1C|L2A)_")
"""Names before December 2016 tell neither tile nor time of sensing in one place."""
_DAYS: Final = re.compile(r"(?:^|/)(?P<year>(?:19|20)\d\d)(?:/(?P<month>\d{1,2})(?:/(?P<day>\d{1,2}))?)?$")
_PASS: Final = timedelta(hours=1)
"""Names have the begin of the datatake, which no granule is sensed later after."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What is looked for, as far as names tell it."""

    first: date = date.min
    last: date = date.max
    """Days of sensing, UTC, both included."""
    tiles: Collection[str] | None = None
    """Of products that lie on tiles; all if not given."""
    level: str | None = None

    def may_hold(self, folder: str) -> bool:
        """Whether a folder, by its path, may hold products of the days: `L2A/2024/03/05` is of one day."""
        match = _DAYS.search(folder.rstrip("/"))
        if match is None:
            return True
        try:
            start = date(int(match["year"]), int(match["month"] or 1), int(match["day"] or 1))
        except ValueError:
            return True  # no date
        if match["day"]:
            end = start
        elif match["month"]:
            end = (start.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
        else:
            end = start.replace(month=12, day=31)
        return end >= self._begin().date() and start <= self.last

    def fits(self, name: str) -> bool:
        """Whether a product, by its name, may be one that is wanted; also if the name does not tell."""
        match = _SENTINEL2.match(name) or _SENTINEL1.match(name) or _EOPF.match(name)
        if match is None:
            old = _OLD.match(name)
            return old is None or self.level in (None, old["level"])
        told = match.groupdict()
        try:
            start = datetime.strptime(told["start"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            return True
        return (
            self._begin() <= start
            and start.date() <= self.last
            and self.level in (None, told["level"])
            and (self.tiles is None or "tile" not in told or told["tile"] in self.tiles)
        )

    def _begin(self) -> datetime:
        """Earliest begin of a datatake of the first day."""
        first = datetime(self.first.year, self.first.month, self.first.day, tzinfo=UTC)
        return first if self.first == date.min else first - _PASS


def is_product(name: str) -> bool:
    """Whether a folder is a product, by its name."""
    return name.endswith(_ENDINGS)


def is_hierarchy(address: str) -> bool:
    """Whether a product is a Zarr hierarchy rather than a folder of files, by its name."""
    return name_of(address).endswith(_ENDINGS[1])


def is_tile(names: Iterable[str]) -> bool:
    """Whether a folder with these files is a product without such a name: a tile in the layout of AWS."""
    return aws.is_tile(set(names))


def read_stored(files: StoredFiles) -> list[Scene]:
    """Scenes of a product, the same as of its copy on this machine but for places, sizes and digests of files.

    Raises
    ------
    SceneError
        If it is broken or of an unsupported kind; the message names product and reason.
    """
    radar = re.match(r"S1[A-Z]_", files.name)
    scenes = [sentinel1.read_files(files)] if radar else sentinel2.read_files(files)
    listed = _listed(files)
    return [
        _with_files(
            replace(scene, content=content_of(scene, files)), files, listed, beside(scene, files) if radar else {}
        )
        for scene in scenes
    ]


def read_hierarchy(address: str) -> Scene:
    """Scene of a product of EOPF Zarr on a server, the same as of its copy on this machine but for places.

    Raises
    ------
    SceneError
        If it is broken or of an unsupported kind; the message names product and reason.
    """
    hierarchy = Hierarchy(address)
    with named(hierarchy.name):
        groups = [] if is_sentinel2(hierarchy.attributes) else hierarchy.groups("")
        scene = read_eopf(address, groups) if any(map(is_group, groups)) else read_scene(address)
        return replace(scene, content=content_of(scene))


def _listed(files: StoredFiles) -> Mapping[str, tuple[int, str, str]]:
    """What the manifest says of files; nothing if it is damaged, as of products on this machine."""
    if MANIFEST not in files:
        return {}
    manifest = files.read(MANIFEST)
    try:
        return listed_files(files.name, manifest)
    except (SceneError, ValueError):
        return {}


def _with_files(
    scene: Scene, files: StoredFiles, listed: Mapping[str, tuple[int, str, str]], annotation: Mapping[str, str]
) -> Scene:
    """A scene with what the store and the manifest say of its files; one that is half written counts as missing."""
    wanted = [
        *scene.assets.items(),
        *((key, Asset(files.uri(name))) for key, name in annotation.items()),
    ]
    found, cut = dict[str, Asset](), []
    for key, asset in wanted:
        name = files.name_of(asset.uri)
        size, algorithm, text = listed.get(name, (-1, "", ""))
        if size not in (-1, files.size(name)):
            cut.append(asset.name)
            continue
        # A digest proves a whole file; without one, the tag still tells one version from another.
        digest = spelt_digest(algorithm, text) or digest_of_tag(files.tag(name))
        found[key] = replace(asset, nbytes=files.size(name), digest=digest)
    assets = {key: asset for key, asset in found.items() if key in scene.assets}
    if not assets:
        raise SceneError(f"{files.name}: incomplete: none of its image files has the size that {MANIFEST} says")
    sidecars = {key: asset for key, asset in found.items() if key in annotation}
    return replace(scene, assets=assets, beside=sidecars, missing=(*scene.missing, *cut))
