"""A step in an image of its own, on a real Slurm whose other stages run inside the image of the site."""

from __future__ import annotations

from pathlib import Path

import pytest
import rasterio

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.production.driver import run_campaign
from hpckit.runs.journal import read_journal
from hpckit.sites.site import load_site
from tests import step_examples
from tests.integration.test_image import program, sif, work_through  # noqa: F401
from tests.servers import apptainer

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.image, pytest.mark.timeout(1800)]

QUIET = Console(quiet=True)


def in_own_image(path: Path, image: Path) -> Path:
    """The example of greening, with its script in an image, and a variable that must not get in."""
    text = (
        path.read_text()
        .replace("{python}", "python3")
        .replace("    each: tile", f"    each: tile\n    image: {image}")
    )
    path.write_text(text + "    environment: {SAID: 'with, comma: $(touch pwned)'}\n    gpus: 0\n")
    script = path.parent / "amplitude.py"
    script.write_text(
        "import os\nassert os.environ['SAID'].startswith('with, comma: $(')\n"
        "assert 'SECRET' not in os.environ and os.environ['OMP_NUM_THREADS'] == '1'\n"
        "assert os.path.exists('/.singularity.d')\n" + script.read_text()
    )
    return path


def pixels(folder: Path) -> object:
    with rasterio.open(next((folder / "amplitude").glob("*.tif"))) as made:
        return made.read(1).tobytes()


def test_a_step_in_its_own_image_beside_stages_in_that_of_the_site(
    sif: Path,  # noqa: F811
    program: Path,  # noqa: F811
    slurm,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.mktemp("steps")
    outside = load_campaign(step_examples.greening(folder / "outside"))
    assert run_campaign(outside, QUIET, workers=2).exit_code == 0
    inside = load_campaign(in_own_image(step_examples.greening(folder / "in side: a, b"), sif))
    lab = folder / "lab.yaml"
    lab.write_text(
        f"""name: lab
scheduler: slurm
partitions: [{{name: short, cores: 2, memory_mib: 4000, walltime: 60min}}]
stages:
  default: {{ranks: 1, memory_mib: 1500}}
  ingest: {{directives: [--uid={apptainer.USER}]}}
  exec-amplitude: {{memory_mib: 2500}}
poll: {{first_s: 1, submit_pause_s: 0, timeout_s: 60}}
setup: umask 0   # Apptainer runs as another user than the job, which is root's here
runtime: apptainer
container: {{image: {sif}, command: {program}}}
"""
    )
    monkeypatch.setenv("SECRET", "1")
    for place in (folder, *folder.parents[:2]):
        place.chmod(0o755)
    submission, logs = work_through(inside, load_site(lab), slurm)
    stages = {entry.stage for entry in read_journal(inside.run_dir)}
    assert stages == {"ingest", "exec-amplitude"}, logs
    assert pixels(inside.folder) == pixels(outside.folder)
    assert not list(inside.folder.rglob("pwned"))
    scripts = {path.stem: path.read_text() for path in submission.path.glob("*.sh")}
    assert str(sif) in scripts["ingest"] and str(sif) not in scripts["exec-amplitude"]
