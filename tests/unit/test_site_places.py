"""Which site file is used, and limits beyond those of the operator's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.cli import cli
from hpckit.errors import SiteError
from hpckit.sites import places
from hpckit.sites.jobscript.script import _environment
from hpckit.sites.limits import limit_findings, raised, warnings
from hpckit.sites.places import all_site_files, site_files
from hpckit.sites.scheduler.registry import scheduler_named
from hpckit.sites.site import find_site, load_site

ORDER = ("campaign", "user", "first", "second", "system")


def make_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Folders of each origin, nearest first."""
    found = {name: tmp_path / name for name in ORDER}
    found["user"] = tmp_path / "config" / "hpckit" / "sites"
    for folder in found.values():
        folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HPCKIT_SITES", f"{found['first']}:/nowhere:{found['second']}")
    monkeypatch.setattr(places, "SYSTEM", found["system"])
    return found


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    return make_folders(tmp_path, monkeypatch)


def write(folder: Path, name: str = "cirrus", more: str = "") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(f"name: {name}\nscheduler: slurm\n{more}")
    return path


@given(st.sets(st.sampled_from(ORDER)))
@settings(max_examples=32, deadline=None)
def test_the_nearest_file_is_used(tmp_path_factory: pytest.TempPathFactory, there: set[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        found = make_folders(tmp_path_factory.mktemp("s"), patch)
        written = [write(found[name]) for name in ORDER if name in there]
        files = all_site_files([found["campaign"]])["cirrus"]
        assert [file.path for file in files] == [*written, places.shipped_folder() / "cirrus.yaml"]
        assert find_site("cirrus", [found["campaign"]]).path == files[0].path


def test_files_of_the_operator_alone_are_found_by_name(folders: dict[str, Path]) -> None:
    path = write(folders["system"], "ourcluster")
    assert find_site("ourcluster").path == path and site_files()["ourcluster"] == path


def test_the_list_says_which_file_is_used(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders["campaign"])
    mine, theirs = write(folders["user"]), write(folders["second"])
    shown = json.loads(CliRunner().invoke(cli, ["site", "list", "--json"]).stdout)
    one = next(row for row in shown if row["name"] == "cirrus")
    assert (one["path"], one["from"]) == (str(mine), "user")
    assert one["hides"] == [str(theirs), str(places.shipped_folder() / "cirrus.yaml")]


def test_a_relative_folder_in_the_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCKIT_SITES", "sites:/etc/other")
    with pytest.raises(SiteError, match="HPCKIT_SITES: sites is a relative path"):
        site_files()


def test_a_file_of_the_operator_that_anybody_may_change_is_refused(folders: dict[str, Path]) -> None:
    path = write(folders["first"])
    path.chmod(0o666)
    with pytest.raises(SiteError, match="anybody may change it") as caught:
        find_site("cirrus")
    assert caught.value.hint == f"let its owner run `chmod o-w {path}`"
    path.chmod(0o644)
    folders["first"].chmod(0o777)
    with pytest.raises(SiteError, match="anybody may change it"):
        find_site("cirrus")
    folders["first"].chmod(0o755)
    assert find_site("cirrus").path == path
    # A person's own file is the person's matter.
    write(folders["user"]).chmod(0o666)
    assert find_site("cirrus").path.parent == folders["user"]


LIMITS = """
partitions:
- {name: long, cores: 64, walltime: 48h, max_submitted: 100}
- {name: gpu, gpus: 4}
arrays: {max_size: 1001, throttle: 50}
poll: {first_s: 60, longest_s: 600}
"""


def test_limits_beyond_the_operator_s_are_told(folders: dict[str, Path]) -> None:
    theirs = write(folders["system"], more=LIMITS)
    mine = write(folders["user"], more="partitions: [{name: long, walltime: 4d}, {name: secret}]\n")
    told = raised(load_site(mine), load_site(theirs))
    assert told == [
        "partition long: walltime 96 h 00 min, the operator's is 48 h 00 min",
        "partition long: max_submitted has no limit, the operator's is 100",
        "partition secret is not in the operator's file",
        "arrays.max_size has no limit, the operator's is 1001",
        "arrays.throttle has no limit, the operator's is 50",
        "poll.first_s 30, the operator's is 60",
        "poll.longest_s 300, the operator's is 600",
    ]
    found = find_site("cirrus")
    assert [finding.ok for finding in limit_findings(found)] == [False] * 7
    assert next(warnings(found)).startswith(f"{mine}: partition long: walltime 96 h")
    shown = CliRunner().invoke(cli, ["site", "validate", str(mine)])
    assert shown.exit_code == 0 and shown.stderr.count("warning:") == 7


def test_limits_within_the_operator_s_and_other_names_are_kept(folders: dict[str, Path]) -> None:
    write(folders["system"], more=LIMITS)
    within = LIMITS.replace("48h", "24h").replace("cores: 64", "cores: 32").replace("throttle: 50", "throttle: 5")
    # By the name that the file gives, too: a campaign may call its copy as it likes.
    path = write(folders["campaign"], more=within).rename(folders["campaign"] / "fast.yaml")
    assert [finding.ok for finding in limit_findings(load_site(path))] == [True]
    assert list(warnings(load_site(path))) == []
    assert limit_findings(load_site(write(folders["user"], "another"))) == []
    assert limit_findings(load_site(folders["system"] / "cirrus.yaml")) == []


def test_templates_of_the_operator_stand_between_the_user_s_and_hpckit_s(folders: dict[str, Path]) -> None:
    searched = _environment(scheduler_named("slurm"), []).loader.searchpath  # type: ignore[union-attr]
    assert [Path(text) for text in searched[:4]] == [
        folders["user"].with_name("jobscripts"),
        folders["first"].with_name("jobscripts"),
        Path("/nowhere").with_name("jobscripts"),
        folders["second"].with_name("jobscripts"),
    ]


def test_other_yaml_files_beside_a_campaign_are_no_sites(tmp_path: Path) -> None:
    before = site_files()
    for number, text in enumerate(("", "null", "42", "- scheduler", "scheduler", "other: 1", "# empty", "[")):
        (tmp_path / f"s{number}.yaml").write_text(text)
    assert site_files([tmp_path]) == before


OPERATOR = """\
title: of the operator
partitions: [{name: short, cores: 64}, {name: long, cores: 64}]
storage: {scratch: /scratch, project: /project}
poll: {first_s: 60}
energy: {watt_per_core: 3}
"""


def test_a_file_changes_some_fields_of_another_one(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Mappings are joined through all files, lists and values replaced, and null takes a field back."""
    monkeypatch.chdir(folders["campaign"])
    operators = write(folders["system"], more=OPERATOR)
    group = folders["first"] / "cirrus.yaml"
    group.write_text("extends: cirrus\naccount: {default: eo}\nstorage:\n  scratch: /group\nenergy: null\n")
    mine = folders["user"] / "cirrus.yaml"
    mine.write_text("extends: cirrus\n\npartitions: [{name: long, cores: 32}]\n")
    found = find_site("cirrus")
    assert found.paths == (mine, group, operators)
    assert (found.name, found.title, found.account.default) == ("cirrus", "of the operator", "eo")
    assert [(item.name, item.cores) for item in found.partitions] == [("long", 32)]
    assert (found.storage.scratch, found.storage.project) == ("/group", "/project")
    assert found.poll.first_s == 60 and found.energy.watt_per_core is None
    assert found.origins["scheduler"] == (operators, 2) and found.origins["partitions.0.cores"] == (mine, 3)
    assert found.origins["storage.scratch"] == (group, 4) and found.origins["storage.project"] == (operators, 5)
    assert not any(name.startswith("energy") for name in found.origins)
    shown = CliRunner().invoke(cli, ["site", "show", "cirrus", "--origin", "--json"])
    assert json.loads(shown.stdout)["account.default"] == {"file": str(group), "line": 2}
    whole = folders["campaign"] / "whole.yaml"
    whole.write_text(found.written())  # what is sent to other machines stands by itself
    alone = load_site(whole)
    assert len(alone.paths) == 1
    assert alone.model_dump(exclude={"extends"}) == found.model_dump(exclude={"extends"})


def test_files_of_other_names_and_paths_are_extended(folders: dict[str, Path]) -> None:
    write(folders["system"], "base", OPERATOR)
    path = folders["campaign"] / "mine.yaml"
    path.write_text("extends: base\nname: mine\n")
    assert load_site(path).partitions[0].cores == 64
    assert "mine" in site_files([folders["campaign"]])
    near = folders["campaign"] / "near.yaml"
    near.write_text("extends: ./mine.yaml\nname: near\n")
    assert [file.name for file in load_site(near).paths] == ["near.yaml", "mine.yaml", "base.yaml"]


def test_faults_of_files_that_extend_others(folders: dict[str, Path]) -> None:
    one, other = folders["user"] / "one.yaml", folders["user"] / "other.yaml"
    one.write_text("extends: other\nname: one\n")
    other.write_text("extends: one\nscheduler: slurm\n")
    with pytest.raises(SiteError, match=r"one\.yaml: this file extends itself: .*one.yaml → .*other.yaml → "):
        load_site(one)
    one.write_text("extends: ./one.yaml\nname: one\n")
    with pytest.raises(SiteError, match="this file extends itself"):
        load_site(one)
    one.write_text("extends: one\nname: one\n")
    with pytest.raises(SiteError, match="extends: there is no other site file 'one'"):
        load_site(one)
    one.write_text("extends: ./gone.yaml\nname: one\n")
    with pytest.raises(SiteError, match=r"gone\.yaml: no such file"):
        load_site(one)
    # A fault is said where it is written.
    other.write_text("name: other\nscheduler: slurm\npoll: {first_s: -1}\n")
    one.write_text("extends: other\n\nmemory_request: nodes\n")
    with pytest.raises(SiteError) as caught:
        load_site(one)
    assert f"{other}:3: poll.first_s" in str(caught.value) and f"{one}:3: memory_request" in str(caught.value)


def test_an_extended_file_that_anybody_may_change_is_refused(folders: dict[str, Path]) -> None:
    path = write(folders["system"])
    path.chmod(0o666)
    mine = folders["user"] / "cirrus.yaml"
    mine.write_text("extends: cirrus\n")
    with pytest.raises(SiteError, match="anybody may change it"):
        load_site(mine)
