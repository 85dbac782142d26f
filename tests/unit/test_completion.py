"""What shells suggest, asked of real shells, with the scripts that `hpckit completion` prints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from hpckit.cli import completion

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ZONES = ["P0001", "P0002", "Q1", "field 3", "it's", "ürün", "with ' and $"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a campaign whose run has frozen names, and nothing else: no pixels, no store."""
    frozen = tmp_path / "farms.run" / "frozen" / "abc"
    (frozen / "zones").mkdir(parents=True)
    reductions = [
        {"name": "parcels", "kind": "signatures", "indices": {"NDVI": "…"}},
        {"name": "monthly", "kind": "composite", "methods": ["median", "count"]},
    ]
    told = {"file": "campaign.yaml", "campaign": {"cube": {"bands": ["B04", "B08"]}, "reductions": reductions}}
    (frozen / "campaign.json").write_text(json.dumps(told))
    (frozen.parents[1] / "run.json").write_text(json.dumps({"frozen": "abc", "planned": None}))
    parquet.write_table(pa.table({"id": ZONES}), frozen / "zones" / "parcels.parquet")
    parquet.write_table(pa.table({"tile": ["31UFU", "31UFT", "31UFT"]}), frozen / "tiles.parquet")
    (tmp_path / "campaign.yaml").write_text("not read: [")
    (tmp_path / "other.yaml").write_text("")
    program = tmp_path / "bin" / "hpckit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hpckit "$@"\n')
    program.chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        (tmp_path / shell).write_text(completion.script(shell))
    return tmp_path


def shell(folder: Path, *command: str) -> list[str]:
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    environment |= {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def by_bash(folder: Path, *words: str) -> list[str]:
    """What bash would insert, of the words that it has read so far."""
    program = (
        'source ./bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hpckit_completion hpckit "${@: -1}"; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return [line for line in shell(folder, "bash", "--norc", "-c", program, "bash", "hpckit", *words) if line]


@pytest.mark.parametrize(
    ("words", "suggested"),
    [
        (("doc",), ["doctor"]),
        (("site", "sh"), ["show"]),
        (("site", "show", "sn"), ["snellius"]),
        (("--host", "sn"), ["snellius"]),
        (("submit", "campaign.yaml", "--site", "sn"), ["snellius"]),
        (("login", "check", "sn"), ["snellius"]),
        (("series", "campaign.yaml", "--zone", "P"), ["P0001", "P0002"]),
        (("series", "--zone", "P"), ["P0001", "P0002"]),
        (("series", "farms.run", "--zone", "Q"), ["Q1"]),
        (("series", "other.yaml", "--zone", "P"), []),
        (("series", "campaign.yaml", "--zone", "P0001", "--zone", "f"), ["'field 3'"]),
        (("series", "campaign.yaml", "--zone", "'fi"), ["'field 3'"]),
        (("series", "campaign.yaml", "--zone", "w"), []),
        (("series", "campaign.yaml", "--zone", "it"), ['"it\'s"']),
        (("series", "campaign.yaml", "--zone", "ü"), ["ürün"]),
        (("series", "campaign.yaml", "--zone", "Q1", "--band", ""), ["B04", "B08", "NDVI"]),
        (("quicklook", "campaign.yaml", "--tile", ""), ["31UFT", "31UFU"]),
        (("quicklook", "campaign.yaml", "--composite", ""), ["monthly"]),
        (("quicklook", "campaign.yaml", "--composite", "monthly", "--method", "m"), ["median"]),
        (("series", "campaign.yaml", "--zo"), ["--zone"]),
    ],
)
def test_bash(folder: Path, words: tuple[str, ...], suggested: list[str]) -> None:
    assert by_bash(folder, *words) == suggested


@pytest.mark.parametrize(
    "damage",
    ["campaign.json", "tiles.parquet", "zones/parcels.parquet", "../../run.json"],
)
def test_damaged_files_suggest_nothing(folder: Path, damage: str) -> None:
    (folder / "farms.run" / "frozen" / "abc" / damage).write_bytes(b"PAR1 {")
    for words in (("quicklook", "campaign.yaml", "--tile", ""), ("series", "campaign.yaml", "--zone", "")):
        assert set(by_bash(folder, *words)) <= {
            "31UFT",
            "31UFU",
            "P0001",
            "P0002",
            "Q1",
            "'field 3'",
            '"it\'s"',
            "ürün",
        }


def test_fish(folder: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed here")
    program = "source fish; complete -C 'hpckit series campaign.yaml --zone P'; complete -C 'hpckit site show sn'"
    words = [line.split("\t")[0] for line in shell(folder, "fish", "--no-config", "-c", program)]
    assert words == ["P0001", "P0002", "snellius"]


def test_zsh(folder: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed here")
    # `_describe` and `compadd` exist while a key is handled only; what they are given is what is shown.
    program = (
        "autoload -Uz compinit; compinit -D; compdef () { :; }; source ./zsh;"
        "_describe () { print -l -- ${(P)@[-1]}; }; compadd () { print -l -- ${(P)@[-1]}; };"
        "words=(hpckit series campaign.yaml --zone P); CURRENT=5; _hpckit_completion;"
        "words=(hpckit site show sn); CURRENT=4; _hpckit_completion"
    )
    assert [line for line in shell(folder, "zsh", "-f", "-c", program) if line] == ["P0001", "P0002", "snellius"]


def test_it_is_fast_with_many_zones(folder: Path) -> None:
    many = pa.table({"id": [f"NL{number:07d}" for number in range(500_000)]})
    parquet.write_table(many, folder / "farms.run" / "frozen" / "abc" / "zones" / "parcels.parquet")
    by_bash(folder, "series", "campaign.yaml", "--zone", "NL01")  # compiles bytecode
    times = []
    for _ in range(3):
        before = os.times()
        found = by_bash(folder, "series", "campaign.yaml", "--zone", "NL0123")
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert len(found) == 200 and found[0] == "NL0123000"
    assert min(times) < 1, "0.25 s of a processor that is not shared"


def test_other_shells_and_instructions(folder: Path) -> None:
    command = [sys.executable, "-m", "hpckit"]
    for asked in ("tcsh_complete", "bash", "bash_other"):
        done = subprocess.run(
            command, env={**os.environ, completion.VARIABLE: asked}, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout) == (1, b"")
