"""A campaign as the server sees it: what it has, opened once and looked at again when its run changes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar

from hpckit.api import open_campaign
from hpckit.errors import HpckitError, RunError, StoreUnavailableError
from hpckit.runs.run import Run, find_run
from hpckit.serve.settings import DatasetSettings
from hpckit.serve.zonemap import ZoneMap, open_zones
from hpckit.store import Store, open_store

if TYPE_CHECKING:
    from hpckit.campaign.campaign import Campaign
    from hpckit.look.view import CampaignView

_LOOK_S: Final = 2.0
"""How old the knowledge of a run may be."""
_MOST_STORES: Final = 16
_UNTOLD_S: Final = 300.0
"""How long a database's content counts as the same, which does not tell when it changed."""
_Value = TypeVar("_Value")


@dataclass(eq=False)
class Edition:
    """What a run stood for at one time: its campaign, and what is read of it."""

    view: CampaignView
    run: Run | None
    """None before the first run."""
    state: Path
    """Folder for what the server keeps about the data set."""
    settings: DatasetSettings
    """Its part of the settings."""
    _zones: dict[str, ZoneMap] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @property
    def campaign(self) -> Campaign:
        """The campaign."""
        return self.view.campaign

    @property
    def digest(self) -> str:
        """Digest of the frozen inputs; empty before the first run."""
        return "" if self.run is None else self.run.frozen

    def zones(self, reduction: str | None = None) -> ZoneMap:
        """Zones of a reduction, by identifier and by place.

        Raises
        ------
        CampaignError
            If there is no such reduction.
        ZoneError
            If the zones cannot be read.
        """
        chosen = self.view.reduction(reduction)
        with self._lock:
            if chosen.name not in self._zones:
                settings = self.settings
                self._zones[chosen.name] = open_zones(
                    self.view, self.run, chosen.name, settings.crop_name, settings.crop_code, settings.attributes
                )
            return self._zones[chosen.name]


class Dataset:
    """A campaign that is served.

    Parameters
    ----------
    settings : DatasetSettings
        Its part of the settings.
    path : Path
        Campaign file or run directory.
    state : Path
        Folder for what the server keeps about it.

    Raises
    ------
    HpckitError
        If the campaign cannot be read.
    """

    def __init__(self, settings: DatasetSettings, path: Path, state: Path) -> None:
        self.settings = settings
        self.path = path
        self._lock = Lock()
        self._looked = -_LOOK_S
        self._seen: object = None
        self._edition: Edition | None = None
        self._stores: list[Store] = []
        self._stores_of: object = None
        self._answered: Edition | None = None
        campaign = open_campaign(path).campaign
        self.name = settings.name or campaign.name
        self.state = state / self.name
        with suppress(HpckitError):  # said to whoever asks; the run may be made again meanwhile
            self._look()

    @cached_property
    def title(self) -> str:
        """Title for people."""
        return self.settings.title or self.name

    @property
    def edition(self) -> Edition:
        """What the run stands for now.

        Raises
        ------
        HpckitError
            If the campaign cannot be read and never was.
        """
        with self._lock:
            if self._edition is None or time.monotonic() - self._looked > _LOOK_S:
                try:
                    self._look()
                except HpckitError:
                    # A run that is being replaced, or a file system that does not answer: what was read stays right.
                    if self._edition is None:
                        raise
                self._looked = time.monotonic()
            return self._edition  # type: ignore[return-value]

    def _look(self) -> None:
        path = self._edition.campaign.run_dir / "run.json" if self._edition is not None else None
        seen = None if path is None or not path.exists() else (path.stat().st_mtime_ns, path.stat().st_size)
        if self._edition is not None and seen == self._seen:
            return
        view = open_campaign(self.path)
        try:
            run: Run | None = find_run(view.campaign.run_dir)
        except RunError:
            run = None
        if self._edition is None or run is None or run.frozen != self._edition.digest:
            if run is not None:
                view = open_campaign(run.path)
            self._edition = Edition(view, run, self.state, self.settings)
        self._seen = seen

    @property
    def view(self) -> CampaignView:
        """The campaign's results."""
        return self.edition.view

    @property
    def campaign(self) -> Campaign:
        """The campaign, as it last worked."""
        return self.edition.campaign

    @contextmanager
    def store(self) -> Iterator[Store]:
        """A connection to the store, for reading; given back when the block ends.

        Raises
        ------
        StoreUnavailableError
            If the store does not answer.
        """
        edition = self.edition
        file = _file_of(edition.campaign)
        place = (edition, None if file is None else (file.st_dev, file.st_ino))
        if file is None and edition.campaign.store.dsn is None and self._answered is edition:
            raise StoreUnavailableError(f"{edition.campaign.store_path.name}: the store is not there at the moment")
        with self._lock:
            # Connections to what lay there before would answer from a file that has another name now, or none.
            old, self._stores = ([], self._stores) if place == self._stores_of else (self._stores, [])
            self._stores_of = place
            held = self._stores.pop() if self._stores else None
        for each in old:
            each.close()
        store = held or open_store(edition.campaign)
        try:
            yield store
        except BaseException:
            store.close()
            raise
        self._answered = edition
        with self._lock:
            if len(self._stores) < _MOST_STORES and place == self._stores_of:
                self._stores.append(store)
                return
        store.close()

    def store_state(self) -> object:
        """Something that differs once the store has other results: of a file at once, of a database in minutes."""
        status = _file_of(self.campaign)
        return int(time.monotonic() / _UNTOLD_S) if status is None else (status.st_ino, status.st_mtime_ns)

    def ask(self, question: Callable[[Store], _Value]) -> _Value:
        """Ask the store; once more over a new connection if the one that was open has ended.

        Raises
        ------
        StoreUnavailableError
            If the store does not answer.
        """
        try:
            with self.store() as store:
                return question(store)
        except StoreUnavailableError:
            self.close()
            with self.store() as store:
                return question(store)

    def close(self) -> None:
        """Close connections to the store."""
        with self._lock:
            stores, self._stores = self._stores, []
        for store in stores:
            store.close()


def _file_of(campaign: Campaign) -> os.stat_result | None:
    """State of the file that the store is; None for a database, or where there is none."""
    if campaign.store.dsn is not None:
        return None
    try:
        return campaign.store_path.stat()
    except OSError:
        return None
