"""Do ranks end together? Units with log-normal costs, drawn from the shared counter or split beforehand.

Starts itself under mpirun. The spread is the time between the first and the last rank to end.

    python benchmarks/balance.py [--ranks 8] [--units 400] [--launcher "mpirun.openmpi --oversubscribe"]
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time

import numpy as np

from hpckit.jobs.mpi import join


def main() -> None:
    """Measure, or be a rank."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--units", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rank, on average")
    parser.add_argument("--launcher", default="mpirun.openmpi --oversubscribe")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        _rank(options.units, options.seconds)
        return
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    words = [sys.executable, __file__, "--rank", "--units", str(options.units), "--seconds", str(options.seconds)]
    subprocess.run([*shlex.split(options.launcher), "-n", str(options.ranks), *words], env=environment, check=True)


def _rank(units: int, seconds: float) -> None:
    ranks = join()
    costs = np.random.default_rng(1).lognormal(0, 1, units)
    costs = np.sort(costs * seconds * ranks.size / costs.sum())[::-1]
    ways = {
        "split in blocks": np.array_split(np.arange(units), ranks.size)[ranks.rank],
        "split in turns": np.arange(ranks.rank, units, ranks.size),
    }
    rows = []
    for name, mine in ways.items():
        rows.append((name, _work(ranks, costs, iter(mine.tolist()))))
    rows.append(("drawn", _work(ranks, costs, ranks.draw(units))))
    if ranks.rank == 0:
        print(f"{units} units on {ranks.size} ranks, the longest {costs[0]:.2f} s")
        for name, ends in rows:
            spread, busy = max(ends) - min(ends), sum(ends) / len(ends) / max(ends)
            print(f"{name:<16} spread {spread:6.2f} s = {spread / costs[0]:5.2f} longest units; {busy:.1%} busy")
    ranks.leave()


def _work(ranks, costs, positions) -> list[float]:
    ranks.everyone(60)
    start = time.perf_counter()
    for position in positions:
        time.sleep(costs[position])
    end = time.perf_counter() - start
    ranks.everyone(600)
    return ranks.gather(end) or []


if __name__ == "__main__":
    main()
