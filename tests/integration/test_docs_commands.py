"""Every command of README and documentation, run as it is written, in the order of its page.

`tests/doc_commands.py` finds them. Comments in the pages say which ones need a cluster, a server or a password.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doc_commands import KINDS, ROOT, Command, commands, pages, read

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

PAGES = {path.relative_to(ROOT).as_posix(): path for path in pages()}
WITH_COMMANDS = [name for name, path in PAGES.items() if any(not each.skipped for each in commands(path))]
FARM = """\
name: wheat
aoi: parcels.gpkg
period: 2024-04-20/..
scenes: {{paths: [{scenes}]}}
cube: {{bands: [B02, B03, B04, B08, SCL]}}
reductions:
  - name: parcels
    zones: parcels.gpkg
    id: fid
    bands: [B04, B08]
    attributes: [crop]
    indices: {{NDVI: (B08 - B04) / (B08 + B04)}}
  - name: monthly
    kind: composite
    bands: [B02, B03, B04, B08]
    indices: {{NDVI: (B08 - B04) / (B08 + B04)}}
    methods: [median, p90, count]
    period: month
markers:
  - {{name: mowing, preset: mowing}}
"""
GRAPH = """\
{"process_graph": {
  "load": {"process_id": "load_collection", "arguments": {"id": "S2", "spatial_extent": null,
           "temporal_extent": ["2024-05-01", "2024-05-31"], "bands": ["B04", "B08"]}},
  "ndvi": {"process_id": "ndvi", "arguments": {"data": {"from_node": "load"}, "nir": "B08", "red": "B04"}},
  "save": {"process_id": "save_result", "arguments": {"data": {"from_node": "ndvi"}, "format": "GTiff"},
           "result": true}}}
"""
SERVE = """\
serving () {{
  "$@" >serving.out 2>&1 & local pid=$!
  for _ in $(seq 300); do
    grep -q 'http://' serving.out && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.2
  done
  grep -q 'http://' serving.out || {{ cat serving.out >&2; kill $pid 2>/dev/null; return 1; }}
  kill $pid; wait $pid; [ $? -eq 0 ] || [ $? -eq 143 ]
}}
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A demonstration of some dates with its results; a campaign with composites on its products, new and done."""
    folder = tmp_path_factory.mktemp("prepared")
    environment = _environment(folder, folder)
    for words in (("demo", "--only-data", "--dates", "7", "demo"), ("run", "demo/campaign.yaml")):
        command = [sys.executable, "-m", "hpckit", *words]
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    farm = folder / "farm"
    farm.mkdir()
    (farm / "campaign.yaml").write_text(FARM.format(scenes=folder / "demo" / "scenes"))
    shutil.copy(folder / "demo" / "parcels.gpkg", farm)
    (farm / "ndvi.json").write_text(GRAPH)
    done = folder / "done"
    shutil.copytree(farm, done)
    command = [sys.executable, "-m", "hpckit", "run", "campaign.yaml"]
    subprocess.run(command, cwd=done, env=environment, check=True, capture_output=True, text=True)
    yield folder
    shutil.rmtree(folder)


def _environment(prepared: Path, home: Path) -> dict[str, str]:
    programs = home / "programs"
    programs.mkdir(exist_ok=True)
    program = programs / "hpckit"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hpckit "$@"\n')
    program.chmod(0o755)
    ours = {"HOME": str(home), "PREPARED": str(prepared), "DOCS": str(ROOT / "docs"), "LC_ALL": "C.UTF-8"}
    ours["PATH"] = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, **ours, "XDG_CONFIG_HOME": str(home / ".config"), "XDG_STATE_HOME": str(home / ".state")}


def script(found: list[Command]) -> str:
    """All commands of a page as one script of bash: it ends with the first command that does not end as it should."""
    lines = [SERVE.format(), "page=$PWD"]
    for command in found:
        lines += [f"{{ {line}\n}} || exit 99" for line in command.before]
        if command.skipped:
            continue
        words = f"serving {command.text}" if command.serves else command.text
        told = shlex.quote(f"{command.page}:{command.line}: {command.text}")
        lines.append(words)
        lines.append(f'code=$?; [ $code -eq {command.code} ] || {{ echo {told} "ended with $code" >&2; exit 98; }}')
        lines += [f"{{ {line}\n}} || exit 99" for line in command.after]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_commands_run_as_written(name: str, prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "script").write_text(script(commands(PAGES[name])))
    done = subprocess.run(
        ["bash", str(tmp_path / "script")],
        cwd=tmp_path / "page",
        env=_environment(prepared, tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,  # two cores, with other tests beside
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Traceback" not in done.stderr


def test_what_is_left_out_has_a_reason_and_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    read_pages = [read(path) for path in PAGES.values()]
    assert [reason for _, wrong in read_pages for reason in wrong] == []
    every = [command for found, _ in read_pages for command in found]
    left_out = Counter(command.skipped for command in every if command.skipped)
    run = len(every) - sum(left_out.values())
    with capsys.disabled():
        counts = ", ".join(f"{kind} {count}" for kind, count in left_out.most_common())
        print(f"\n{len(every)} commands, {run} run here; left out: {counts}")
    assert set(left_out) <= set(KINDS)
    assert run >= 50
