"""Metrics: the text format, files that are whole or not there, and runs that cannot be read."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hpckit import api
from hpckit.cli import cli
from hpckit.errors import HpckitError
from hpckit.runs.status import StageStatus, Status
from hpckit.submissions.metrics import RunState, as_text, write

STATUS = Status("r1", "wheat", (StageStatus("ingest", 5, 1, 2, 12.5),), {}, 0)
LABEL = r'[a-z_]+="(?:\\[\\n"]|[^\\"\n])*"'
SAMPLE = re.compile(
    rf"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\{{(?P<labels>{LABEL}(?:,{LABEL})*)\}} (?P<value>[-+.eE0-9]+)"
)


def parsed(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Samples, after the grammar and the order of the format are checked."""
    assert text.endswith("\n")
    found, known, finished = {}, "", set()
    for line in text.splitlines():
        told = re.fullmatch(r"# (HELP|TYPE) (\w+) (.+)", line)
        if told is not None:
            assert told[2] not in finished, "the samples of a metric stand together"
            if known and known != told[2]:
                finished.add(known)
            known = told[2]
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample is not None and sample["name"] == known, line
        pairs = re.findall(r'([a-z_]+)="((?:\\.|[^"\\])*)"', sample["labels"])
        labels = tuple(
            (name, re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), value)) for name, value in pairs
        )
        assert (known, labels) not in found, "a series has one sample"
        found[known, labels] = float(sample["value"])
    return found


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))
)
def test_any_name_of_a_campaign_comes_back_from_the_text(name: str) -> None:
    state = RunState(Path("/"), Status("r", name, (StageStatus("ingest", 1, 0, 0, 1.0),), {}, 0))
    found = parsed(as_text([state]))
    assert {dict(labels)["campaign"] for (metric, labels) in found if metric == "hpckit_run_units"} == {name}


def test_two_runs_and_one_that_cannot_be_read(tmp_path: Path) -> None:
    text = as_text([RunState(tmp_path / "a", STATUS), RunState(tmp_path / "b", STATUS), RunState(tmp_path / "c")])
    found = {
        (name, dict(labels).get("run"), dict(labels).get("state")): value
        for (name, labels), value in parsed(text).items()
    }
    assert found["hpckit_run_units", str(tmp_path / "a"), "failed"] == 1
    assert found["hpckit_run_units", str(tmp_path / "b"), "waiting"] == 2
    assert found["hpckit_run_readable", str(tmp_path / "a"), None] == 1
    assert found["hpckit_run_readable", str(tmp_path / "c"), None] == 0
    assert ("hpckit_run_info", str(tmp_path / "c"), None) not in found


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")
def test_prometheus_own_checker_accepts_it(tmp_path: Path) -> None:
    text = as_text([RunState(tmp_path / 'a"\\\n', STATUS), RunState(tmp_path)])
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_a_file_is_written_by_a_rename_and_its_draft_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    replace = Path.replace

    def noted(self: Path, target: Path) -> Path:
        names.append(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    write(tmp_path / "hpckit.prom", "# one\n")
    assert (tmp_path / "hpckit.prom").read_text() == "# one\n" and len(list(tmp_path.iterdir())) == 1
    assert len(names) == 1 and not names[0].endswith(".prom")
    with pytest.raises(HpckitError, match=r"end with \.prom"):
        write(tmp_path / "hpckit.txt", "")
    with pytest.raises(HpckitError, match="cannot be written"):
        write(tmp_path / "nowhere" / "hpckit.prom", "")


def test_the_command_goes_on_where_a_run_is_missing(tmp_path: Path) -> None:
    output = tmp_path / "x.prom"
    done = CliRunner().invoke(cli, ["metrics", str(tmp_path / "no.run"), "-o", str(output)])
    assert done.exit_code == 0 and "no run there" in done.stderr
    assert 'hpckit_run_readable{run="' in output.read_text() and output.read_text().rstrip().endswith(" 0")
    assert "hpckit_run_readable" in api.metrics([tmp_path / "no.run"])
