"""Code of users in site files, and in the jobs of a site."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpckit.jobs.usercode import with_user_code
from hpckit.reduce.udf.settings import runtimes, settings_here
from hpckit.sites.site import load_site
from hpckit.sites.udf import UDF_SETTINGS, Udf

SITE = """name: lab
scheduler: slurm
udf:
  runtimes:
    Python: {image: /images/udf.sif, version: "3.12", libraries: {numpy: "2.4"}}
  images: [/images/users]
  limits: {seconds: 30}
"""


def test_jobs_know_the_settings_of_their_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lab.yaml").write_text(SITE)
    site = load_site(tmp_path / "lab.yaml")
    monkeypatch.setenv(UDF_SETTINGS, with_user_code(site).environment[UDF_SETTINGS])
    assert settings_here() == site.udf
    own = Udf(packages=["scipy"])
    assert settings_here(own) is own
    without = site.model_copy(update={"udf": None})
    assert with_user_code(without) is without


def test_runtimes_are_described_as_openeo_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lab.yaml").write_text(SITE)
    settings = load_site(tmp_path / "lab.yaml").udf
    monkeypatch.setenv("HPCKIT_APPTAINER", "/usr/bin/apptainer")
    assert runtimes(settings) == {
        "Python": {
            "title": "Python in udf.sif",
            "type": "language",
            "default": "3.12",
            "versions": {"3.12": {"libraries": {"numpy": {"version": "2.4"}}}},
        }
    }
    monkeypatch.delenv("HPCKIT_APPTAINER")
    monkeypatch.setenv("PATH", "")
    assert runtimes(settings) == {} == runtimes(None)


def test_users_may_name_images_in_folders_of_the_site_only(tmp_path: Path):
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "link.sif").symlink_to(tmp_path / "other.sif")
    settings = Udf(images=[str(tmp_path / "users")])
    assert settings.allows(tmp_path / "users" / "mine.sif")
    assert not settings.allows(tmp_path / "users" / ".." / "other.sif")
    assert not settings.allows(tmp_path / "users" / "link.sif")
