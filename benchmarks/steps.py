"""What a step costs on top of its commands: N short commands as units, beside xargs and Snakemake.

xargs only starts them. hpckit and Snakemake also keep outputs of killed commands away, know what is done, and go on.

python benchmarks/steps.py [--units 200] [--snakemake PROGRAM]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from hpckit.campaign.campaign import load_campaign
from hpckit.production.local import run_units
from hpckit.runs.plan import Unit
from hpckit.runs.run import open_run

WORKERS = 2
CAMPAIGN = """\
name: bench
aoi: [4, 51, 5, 52]
period: 2024-01-01/2024-12-31
scenes: {paths: [.]}
cube: {bands: [B04]}
steps:
  - name: write
    each: scene
    command: sh -c 'echo done > "$1"' x {made}
    outputs: {made: "{id}.txt"}
"""
SNAKEFILE = """\
rule all:
    input: expand("made/{{n}}.txt", n=range({count}))

rule write:
    output: "made/{{n}}.txt"
    shell: "echo done > {{output}}"
"""


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--snakemake", default=shutil.which("snakemake"), help="left out where there is none")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _hpckit(folder / "warm", WORKERS)  # numba's cache, the file system's, the fork server
        seconds = {"xargs": _xargs(folder / "xargs", given.units), "hpckit": _hpckit(folder / "hpckit", given.units)}
        if given.snakemake:
            seconds["snakemake"] = _snakemake(folder / "snakemake", given.units, given.snakemake)
    for what, spent in seconds.items():
        print(f"{what:10} {spent:7.2f} s  {1000 * spent / given.units:7.1f} ms a command")
    if "snakemake" in seconds:
        print(f"snakemake over hpckit: {seconds['snakemake'] / seconds['hpckit']:.1f}")


def _xargs(folder: Path, count: int) -> float:
    folder.mkdir()
    names = "\n".join(str(folder / f"{number}.txt") for number in range(count))
    start = time.perf_counter()
    command = ["xargs", "-P", str(WORKERS), "-n", "1", "sh", "-c", 'echo done > "$1"', "x"]
    subprocess.run(command, input=names, text=True, check=True)
    return time.perf_counter() - start


def _hpckit(folder: Path, count: int) -> float:
    folder.mkdir()
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    run = open_run(load_campaign(folder / "campaign.yaml"))
    units = [
        Unit(
            f"exec/write/{number}",
            "exec-write",
            1.0,
            "in",
            {"step": "write", "tiles": [], "words": {"id": str(number)}},
        )
        for number in range(count)
    ]
    start = time.perf_counter()
    run_units(run.path, units, workers=WORKERS, threads=1, report=lambda entry: None)
    spent = time.perf_counter() - start
    assert len(list((folder / "write").glob("*.txt"))) == count
    return spent


def _snakemake(folder: Path, count: int, program: str) -> float:
    folder.mkdir()
    (folder / "Snakefile").write_text(SNAKEFILE.format(count=count))
    start = time.perf_counter()
    subprocess.run([program, "--cores", str(WORKERS), "--quiet", "all"], cwd=folder, check=True, capture_output=True)
    spent = time.perf_counter() - start
    assert len(list((folder / "made").glob("*.txt"))) == count
    return spent


if __name__ == "__main__":
    main()
