"""Sites die, are cut off and come back, homes are killed, tiles are taken over: nothing is doubled, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from hpckit import api
from hpckit.base.console import Console
from hpckit.base.version import __version__
from hpckit.campaign.campaign import load_campaign
from hpckit.errors import BusyError, FederationError, HpckitError, MemberUnavailableError
from hpckit.jobs.federation import follow, partwork, share, update
from hpckit.jobs.federation.ledger import Grant, Ledger, load, save
from hpckit.jobs.federation.member import Member, _copy
from hpckit.jobs.federation.members import folder_of
from hpckit.jobs.jobarrays import Request
from hpckit.jobs.update import update_shared
from hpckit.production.sync import sync
from hpckit.reduce.signatures.results import results_of
from hpckit.reduce.signatures.spool import AcquisitionInfo, SignatureBatch, SpoolHeader, write_segment
from hpckit.runs.journal import Entry, Journal, read_journal
from hpckit.runs.part import fence as fence_run
from hpckit.runs.part import is_fenced, read_part, require_unfenced
from hpckit.runs.plan import Unit, read_plan
from hpckit.runs.run import find_run
from hpckit.sites.site import Site, load_site
from hpckit.space.zones import load_zones
from hpckit.store import open_store
from tests.federation_samples import TILES, make, write_site

pytestmark = pytest.mark.slow

SITES = ("a", "b", "c")
QUIET = Console(quiet=True)


class Killed(BaseException):
    """The home's process ends here."""


class Cluster(Member):
    """A site in this process: what the home asks is done at once, but units only when the test says so."""

    def __init__(self, site: Site, base: Path, name: str) -> None:
        super().__init__(site, str(base / name))
        self.away = False
        self.calls_left: int | None = None
        """Requests after which the home is killed; before the last one is done if `early`."""
        self.early = False
        self.state: dict[str, Any] = {"elements": {}, "over": False, "submission": 1}
        """What it says of its submission."""
        self.asked: list[list[str]] = []

    def run(self, words: Sequence[str], below: str = "") -> CompletedProcess[str]:
        self._require()
        folder = Path(self.folder) / below
        self.asked.append(list(words))
        answer: Any = self.state
        if words == ["--version"]:
            return CompletedProcess([], 0, f"hpckit, version {__version__}\n", "")
        if not folder.is_dir():
            return CompletedProcess([], 2, "", f"hpckit: {folder}: no such folder")
        if words[1] == "survey":
            answer = partwork.survey(load_campaign(folder / words[2]), self.site, QUIET)
        run_dir = folder / "shared.run"
        if words[1] == "submit":
            require_unfenced(run_dir)
            for name in ("journal", "spool"):
                (run_dir / name).mkdir(exist_ok=True)
            answer = {"submission": 1, "busy": None}
        elif words[1] == "fence":
            fence_run(run_dir, "test")
            answer = {"cancelled": 0, "silent": ""}
        self._end()
        return CompletedProcess([], 0, json.dumps(answer), "")

    def push(self, folder: Path) -> None:
        self._require()
        _copy(folder, Path(self.folder) / folder.name)
        self._end()

    def pull(self, names: Sequence[str], local: Path) -> None:
        self._require()
        for name in names:
            _copy(Path(self.folder) / name, local / Path(name).name)
        self._end()

    def _require(self) -> None:
        if self.away:
            raise MemberUnavailableError(f"site {self.name} is cut off")
        if self.calls_left == 0 and self.early:
            raise Killed

    def _end(self) -> None:
        if self.calls_left is not None:
            if self.calls_left <= 0:
                raise Killed
            self.calls_left -= 1

    def parts(self) -> list[Path]:
        """Run directories of parts that were submitted here."""
        return sorted(path.parent for path in Path(self.folder).glob("*/shared.run/journal"))

    def do(self, run_dir: Path, unit: Unit, mark: float) -> None:
        """What an element does with a unit, with its own mark in the numbers."""
        require_unfenced(run_dir)
        name = f"fields-{len(list((run_dir / 'spool').iterdir())):04d}.h5"
        write_segment(run_dir / "spool" / name, _header(run_dir), [_batch(unit, mark)])
        # Its clock is wrong, and differs from site to site.
        start = datetime(1990 + 20 * SITES.index(self.name), 1, 1, tzinfo=UTC).isoformat()
        entry = Entry(unit.id, unit.stage, "done", unit.inputs, start, 1.0, "s0001", segment=name)
        Journal(run_dir, "s0001").append(entry)


def _header(run_dir: Path) -> SpoolHeader:
    home = run_dir.parents[3] / "home" / "shared.run"
    return SpoolHeader("shared", "0", "r", "fields", load_zones(find_run(home).zones("fields")).digest, "0")


def _batch(unit: Unit, mark: float) -> SignatureBatch:
    acquisition = unit.id.rpartition("/")[2]
    time = datetime.strptime(acquisition.split("_")[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    tile = unit.id.split("/")[2]
    info = AcquisitionInfo(acquisition, time, "S2A", "L2A", tile, "05.10", 51, ("p",))
    # Zones of no two units of an acquisition are the same, as in a plan.
    names = ["31UFT+31UGT", *TILES]
    zone = np.array([3 * names.index(tile), 3 * names.index(tile) + 1], dtype=np.int32)
    ones = np.ones((2, 1), np.float32)
    return SignatureBatch(
        unit.id, info, zone, ("B04",), ("mean",), ones, ones, np.full((2, 1, 1), mark, np.float32), inputs=unit.inputs
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """A folder with a home and three sites that have all scenes; the campaign is shared."""
    folder = tmp_path_factory.mktemp("shared")
    make(folder / "home")
    api.scan([folder / "home" / "all"], folder / "scenes.parquet")
    for name in ("west", "east", "all"):
        shutil.rmtree(folder / "home" / name)  # a home needs no products, and no copy of a plan does
    for name in SITES:
        write_site(folder / "home", name, scenes=folder / "scenes.parquet", base=folder / name)
    sites = [load_site(folder / "home" / f"{name}.yaml") for name in SITES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(share, "member_of", lambda site, name: Cluster(site, folder / site.name, name))
        made = share.share(load_campaign(folder / "home" / "campaign.yaml"), sites, Request(), QUIET)
    assert made.exit_code == 0 and len(made.said) == 3
    return folder


def machine(template: Path) -> type[RuleBasedStateMachine]:  # noqa: C901
    class Federation(RuleBasedStateMachine):
        @initialize()
        def start(self) -> None:
            self.folder = Path(tempfile.mkdtemp(prefix="hpckit-federation-"))
            shutil.rmtree(self.folder)
            shutil.copytree(template, self.folder, copy_function=shutil.copy2)
            self.home = self.folder / "home" / "shared.run"
            ledger = load(self.home)
            save(self.home, Ledger(ledger.federation, _moved(ledger, self.folder), ledger.tiles, ledger.grants))
            name = folder_of(find_run(self.home))
            self.clusters = {
                site: Cluster(load_site(self.folder / "home" / f"{site}.yaml"), self.folder / site, name)
                for site in SITES
            }
            self.patch = pytest.MonkeyPatch()
            self.patch.setattr(follow, "members_of", lambda run, ledger: self.clusters)
            self.at_home: dict[int, set[str]] = {}
            """Lines of revoked epochs that were at home when they were revoked."""

        def teardown(self) -> None:
            try:
                if hasattr(self, "patch"):
                    self.to_the_end()
                    self.patch.undo()
            finally:
                if hasattr(self, "folder"):
                    shutil.rmtree(self.folder, ignore_errors=True)

        @rule(site=st.sampled_from(SITES), data=st.data())
        def work(self, site: str, data: st.DataObject) -> None:
            """A unit is done at a site, cut off or not."""
            runs = [run for run in self.clusters[site].parts() if not is_fenced(run)]
            if runs:
                run = data.draw(st.sampled_from(runs))
                unit = data.draw(st.sampled_from(self.wanted(run)))
                self.clusters[site].do(run, unit, SITES.index(site))

        @rule(site=st.sampled_from(SITES))
        def cut_or_back(self, site: str) -> None:
            self.clusters[site].away = not self.clusters[site].away

        @rule()
        def visit(self) -> None:
            states = follow.collect_all(find_run(self.home), QUIET)
            for state in states:
                if state.fault is not None and not self.clusters[state.grant.member].away:
                    assert "not handed over" in state.fault, state.fault

        @rule()
        def retry(self) -> None:
            follow.resubmit_all(find_run(self.home), Request(), QUIET)

        @rule(site=st.sampled_from(SITES), unreachable=st.booleans())
        def take_over(self, site: str, unreachable: bool) -> None:
            before = load(self.home)
            try:
                follow.take_over(find_run(self.home), site, Request(), QUIET, unreachable=unreachable)
            except MemberUnavailableError:
                assert self.clusters[site].away and not unreachable and load(self.home) == before, "nothing changed"
            except FederationError as error:
                assert "no tiles" in str(error)
            else:
                assert not load(self.home).of(site)
            self.note()

        @rule(
            site=st.sampled_from(SITES),
            at=st.sampled_from(SITES),
            calls=st.integers(0, 6),
            early=st.booleans(),
            what=st.sampled_from(["take over", "retry", "visit"]),
        )
        def killed(self, site: str, at: str, calls: int, early: bool, what: str) -> None:
            """The home is killed between two requests, or before it hears an answer."""
            run, cluster = find_run(self.home), self.clusters[at]
            cluster.calls_left, cluster.early = calls, early
            try:
                if what == "take over":
                    follow.take_over(run, site, Request(), QUIET, unreachable=True)
                elif what == "retry":
                    follow.resubmit_all(run, Request(), QUIET)
                else:
                    follow.collect_all(run, QUIET)
            except (Killed, HpckitError):
                pass
            finally:
                cluster.calls_left = None
            self.note()

        def wanted(self, run_dir: Path) -> list[Unit]:
            mine = read_part(run_dir)
            assert mine is not None
            units = [unit for unit in read_plan(find_run(self.home).plan) if unit.stage == "signatures"]
            return [unit for unit in units if mine.owns(unit)]

        def note(self) -> None:
            for grant in load(self.home).grants:
                if grant.revoked is not None:
                    self.at_home.setdefault(grant.epoch, self.lines(grant))

        def lines(self, grant: Grant) -> set[str]:
            path = self.home / "journal" / f"g{grant.epoch:04d}-{grant.member}.jsonl"
            return set(path.read_text().splitlines()) if path.exists() else set()

        @invariant()
        def nothing_of_a_revoked_epoch_comes_home(self) -> None:
            if not hasattr(self, "at_home"):
                return
            for epoch, known in self.at_home.items():
                assert self.lines(load(self.home).grant(epoch)) == known

        @invariant()
        def each_tile_is_of_one_site_at_most(self) -> None:
            if hasattr(self, "home"):
                load(self.home)  # refuses two owners

        def to_the_end(self) -> None:
            """All sites come back, all is submitted and done, and the results are loaded."""
            for cluster in self.clusters.values():
                cluster.away = False
            handed = follow.resubmit_all(find_run(self.home), Request(), QUIET)
            assert handed.exit_code == 0 and not handed.faults
            follow.collect_all(find_run(self.home), QUIET)
            ledger = load(self.home)
            assert all(grant.fenced for grant in ledger.grants if grant.revoked), "who came back was told"
            for grant in ledger.standing:
                cluster = self.clusters[grant.member]
                run_dir = Path(cluster.folder) / f"{grant.epoch:04d}" / "shared.run"
                mine = read_part(run_dir)
                assert mine is not None and not is_fenced(run_dir)
                done = {entry.unit for entry in read_journal(run_dir)}
                for unit in self.wanted(run_dir):
                    if mine.wants(unit) and unit.id not in done:
                        cluster.do(run_dir, unit, SITES.index(grant.member))
            follow.collect_all(find_run(self.home), QUIET)
            self.nothing_of_a_revoked_epoch_comes_home()
            run = find_run(self.home)
            units = {unit.id: unit for unit in read_plan(run.plan) if unit.stage == "signatures"}
            assert results_of(run).keys() == units.keys(), "nothing is lost"
            report = sync(run.campaign, run, QUIET)
            assert report.exit_code == 0, report.failures
            store = open_store(run.campaign)
            try:
                made = store.made_from("fields")
                rows = sum(len(store.series("fields", zone)) for zone in store.zone_ids("fields"))
            finally:
                store.close()
            assert made == {name: unit.inputs for name, unit in units.items()}
            assert rows == report.rows == 2 * len(units), "each once"

    return Federation


def _moved(ledger: Ledger, folder: Path) -> dict[str, str]:
    return {name: str(folder / "home" / Path(path).name) for name, path in ledger.sites.items()}


def test_whatever_happens_each_unit_is_in_the_store_once(shared):
    options = settings(
        max_examples=int(os.environ.get("HPCKIT_FEDERATIONS", "8")),
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine(shared), settings=options)


@pytest.fixture
def settled(shared, tmp_path, monkeypatch) -> tuple[Path, dict[str, Cluster]]:
    """A copy of the home, and its three sites, of which none works any more."""
    shutil.copytree(shared, tmp_path / "all", copy_function=shutil.copy2)
    home = tmp_path / "all" / "home"
    ledger = load(home / "shared.run")
    save(home / "shared.run", Ledger(ledger.federation, _moved(ledger, home.parent), ledger.tiles, ledger.grants))
    name = folder_of(find_run(home / "shared.run"))
    clusters = {site: Cluster(load_site(home / f"{site}.yaml"), home.parent / site, name) for site in SITES}
    for cluster in clusters.values():
        cluster.state = {"elements": {"succeeded": 1}, "over": True, "submission": 1}
    for module in (follow, update):
        monkeypatch.setattr(module, "members_of", lambda run, ledger: clusters)
    return home, clusters


def content(folder: Path) -> dict[str, bytes]:
    """What the home remembers, but for the copies that a visit brings."""
    kept = [path for path in folder.rglob("*") if path.is_file() and "mirror" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"elements": {"running": 2, "succeeded": 1}, "over": False}, ""),
        ({"elements": {"pending": 1}, "over": False}, ""),
        ({"elements": {}, "over": False, "silent": "squeue: timed out"}, "; its scheduler does not answer: squeue"),
    ],
    ids=["running", "pending", "silent"],
)
def test_nothing_is_planned_while_a_site_still_works(settled, site, state, why):
    home, clusters = settled
    clusters[site].state = state
    (grant,) = load(home / "shared.run").of(site)
    before = content(home)
    sentence = f"site {site} still works on part {grant.epoch}{why}.*; nothing was changed"
    with pytest.raises(BusyError, match=sentence) as refused:
        update.share_again(load_campaign(home / "campaign.yaml"), [], Request(), QUIET)
    assert refused.value.exit_code == 75 and "hpckit watch" in (refused.value.hint or "")
    told_by_cron = update_shared(load_campaign(home / "campaign.yaml"), QUIET, Request())
    assert told_by_cron.state == "working" and f"site {site} still works" in told_by_cron.reason
    assert content(home) == before
    told = [words for cluster in clusters.values() for words in cluster.asked]
    assert {tuple(words[:2]) for words in told} == {("part", "state")}, "sites were only asked"


def test_nothing_is_planned_while_a_site_does_not_answer_or_leaves(settled):
    home, clusters = settled
    campaign = load_campaign(home / "campaign.yaml")
    clusters["b"].away = True
    before = content(home)
    with pytest.raises(MemberUnavailableError, match="site b is cut off; nothing was changed"):
        update.share_again(campaign, [], Request(), QUIET)
    assert content(home) == before
    clusters["b"].away = False
    ledger = load(home / "shared.run")
    save(home / "shared.run", ledger.noting(ledger.of("c")[0].epoch, leaving=True))
    before = content(home)
    with pytest.raises(FederationError, match="the take-over of site c is not finished"):
        update.share_again(campaign, [], Request(), QUIET)
    assert content(home) == before


def test_zones_of_the_plan_are_known(shared):
    run = find_run(shared / "home" / "shared.run")
    assert len(load_zones(run.zones("fields")).ids) >= 15, "as many as the batches of these tests name"
