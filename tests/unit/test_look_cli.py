from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hpckit.cli import cli
from hpckit.cli.look import quicklook, report, series
from tests.unit.look_samples import make_campaign

pytestmark = pytest.mark.slow

INJECTION = "x'; DROP TABLE zones --"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory) -> Path:
    return make_campaign(tmp_path_factory.mktemp("cli"))


def call(command, *arguments: object) -> Result:
    return CliRunner().invoke(cli, [command.name, *(str(argument) for argument in arguments)])


def test_series_prints_csv(campaign):
    result = call(series, campaign, "--zone", "17", "--zone", INJECTION)
    assert result.exit_code == 0
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["zone"] for row in rows] == ["17"] * 3 + [INJECTION] * 3
    assert {row["band"] for row in rows} == {"NDVI"}
    assert rows[1]["time"] == "2024-04-11T10:50:31Z"
    assert float(rows[1]["p50"]) == pytest.approx(0.7)
    assert rows[0]["p50"] == ""


def test_series_prints_json(campaign):
    result = call(series, campaign, "--zone", "17", "--band", "B08", "--json")
    rows = json.loads(result.stdout)
    assert [row["time"] for row in rows] == [f"2024-04-{day}T10:50:31Z" for day in ("01", "11", "21")]
    assert rows[0]["mean"] is None
    assert rows[2]["band"] == "B08"


def test_series_draws(campaign, tmp_path):
    path = tmp_path / "a b.png"
    result = call(series, campaign, "--zone", "17", "--index", "NDVI", "--plot", path)
    assert result.exit_code == 0
    assert result.stdout == f"{path}\n"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_series_draws_and_prints(campaign, tmp_path):
    result = call(series, campaign, "--zone", "17", "--csv", "--plot", tmp_path / "a.svg")
    assert result.stdout.splitlines()[1].startswith("zone,band,time")


def test_series_is_a_table_on_a_terminal(campaign, monkeypatch, capsys):
    from hpckit.api import open_campaign
    from hpckit.look.tables import print_series

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    print_series({"[17]": open_campaign(campaign).series("17")}, "NDVI", None)
    shown = capsys.readouterr().out
    assert "NDVI of zone [17]" in shown
    assert "2024-04-11 10:50" in shown
    assert "90/100" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--zone", "17", "--band", "B04", "--index", "NDVI"], "either --band or --index"),
        ([], "Missing option '--zone'"),
    ],
)
def test_series_usage(campaign, arguments, message):
    result = call(series, campaign, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_quicklook_draws(campaign, tmp_path):
    path = tmp_path / "look.png"
    window = "500100,5699400,500900,5699900"
    result = call(quicklook, campaign, "-o", path, "--date", "2024-04-21", "--clouds", "--window", window)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{path}\n"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_quicklook_names_its_picture(campaign, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(quicklook, campaign, "--rgb", "B08,B04,B03", "--time-index", "-1", "--no-zones")
    assert result.stdout == "sample-31UFU-B08,B04,B03.png\n"
    assert (tmp_path / "sample-31UFU-B08,B04,B03.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "1,2,3"], "is not four numbers"),
        (["--window", "1,2,x,4"], "is not four numbers"),
        (["--window", "3,2,1,4"], "is empty"),
        (["--window", "nan,2,1,4"], "is empty"),
        (["--date", "2024-04-01", "--time-index", "0"], "either --date or --time-index"),
        (["--rgb", "B04,B03,B02", "--index", "NDVI"], "either --rgb or --index"),
        (["--date", "yesterday"], "does not match the format"),
    ],
)
def test_quicklook_usage(campaign, arguments, message):
    result = call(quicklook, campaign, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_report_says_where_it_lies(campaign, tmp_path):
    assert call(report, campaign).stdout == f"{campaign.with_name('sample.run') / 'report.html'}\n"
    result = call(report, campaign.with_name("sample.run"), "-o", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")


def test_command_line_loads_nothing_heavy():
    code = (
        "import sys, hpckit.cli.look\n"
        "heavy = {'numpy', 'pandas', 'matplotlib', 'xarray', 'zarr', 'pydantic', 'rasterio', 'shapely', 'jinja2'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
