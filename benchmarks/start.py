"""What it costs to start: commands, the workers of an element, and kernels on a machine that has none.

Processor times are those of a command with all that it started and waited for.

python benchmarks/start.py [--ranks 1 4]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.demo import make_data
from hpckit.jobs.submit import submit_campaign
from hpckit.production.kernels import of_campaign
from hpckit.runs.journal import read_journal
from hpckit.sites.site import load_site, scheduler_of
from hpckit.submissions.follow import look
from hpckit.submissions.idle import runner_of

QUIET = Console(quiet=True)
SITE = """\
name: here
scheduler: local
stages: {{default: {{ranks: {ranks}}}}}
poll: {{first_s: 0.3, submit_pause_s: 0}}
"""
COMMANDS = (["--help"], ["status", "{}"], ["plan", "{}"], ["run", "{}"], ["verify", "{}"], ["part", "state", "{}"])
ROUNDS = 5


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 4])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        for ranks in given.ranks:
            campaign = make_data(folder / f"ranks{ranks}", QUIET, seed=7, dates=2, workers=2)
            waits = sorted(_first_units(campaign, ranks))
            print(f"an element of {ranks}: first unit of a worker after {waits[0]:.2f} to {waits[-1]:.2f} s")
        for words in COMMANDS:
            spent = min(_processor([word.format(campaign) for word in words]) for _ in range(ROUNDS))
            print(f"hpckit {' '.join(words).format('CAMPAIGN')}, nothing left to do: {spent:.2f} s of processor time")
        names = of_campaign(load_campaign(campaign))
        print(f"kernels of the demonstration, compiled: {_cold(folder / 'kernels', names):.1f} s")


def _first_units(campaign: Path, ranks: int) -> Iterator[float]:
    """Seconds from the start of each element of ingest to the first unit of each of its workers."""
    path = campaign.with_name("here.yaml")
    path.write_text(SITE.format(ranks=ranks))
    loaded, site = load_campaign(campaign), load_site(path)
    submission = submit_campaign(loaded, site, QUIET)
    assert submission is not None
    scheduler = scheduler_of(site)
    runner = runner_of(site, scheduler)
    while not all(item.state.is_over for item in look(submission, scheduler, runner)):
        time.sleep(0.3)
    starts = {
        item.element: item.sighting.start
        for item in look(submission, scheduler, runner)
        if item.stage == "ingest" and item.sighting.start
    }
    began = min(starts.values())
    first: dict[str, float] = {}
    for entry in read_journal(submission.run_dir):
        if entry.stage == "ingest":
            first.setdefault(entry.writer, datetime.fromisoformat(entry.start).timestamp())
    yield from (start - began for start in first.values())


def _processor(words: list[str]) -> float:
    """Processor time of a command."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hpckit", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, code, used = os.wait4(process.pid, 0)
    process.returncode = code
    return used.ru_utime + used.ru_stime


def _cold(folder: Path, names: list[str]) -> float:
    """Wall time in which kernels are compiled into an empty folder."""
    environment = {**os.environ, "HPCKIT_KERNELS": str(folder)}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "hpckit", "kernels", *names], env=environment, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
