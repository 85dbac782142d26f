"""Crates on the disk: the same bytes for the same run, every edit found, nothing of others replaced."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.base import commit
from hpckit.errors import CrateError
from hpckit.inputs.uri import public
from hpckit.production.provenance import crate
from hpckit.production.provenance.finding import Given, find
from hpckit.production.provenance.places import portable, without_home
from hpckit.production.provenance.placing import campaign_of

FILES = {
    crate.METADATA: b'{"@graph": []}',
    crate.CAMPAIGN: b'{"file": "a.yaml", "campaign": {"name": "a"}}',
    "inputs/zones/fields.parquet": bytes(range(256)),
}


@pytest.mark.parametrize("name", ["a.crate", "a.zip"])
def test_what_is_written_is_read(tmp_path, name):
    digest = crate.write(tmp_path / name, FILES)
    found = crate.read(tmp_path / name)
    assert found.files == FILES and found.digest == digest
    assert crate.write(tmp_path / f"again-{name}", dict(reversed(FILES.items()))) == digest


def test_zip_files_are_the_same_to_the_byte(tmp_path):
    crate.write(tmp_path / "a.zip", FILES)
    crate.write(tmp_path / "b.zip", dict(reversed(FILES.items())))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_sha256sum_reads_the_list(tmp_path):
    crate.write(tmp_path / "a", FILES)
    run = subprocess.run(["sha256sum", "--strict", "-c", crate.MANIFEST], cwd=tmp_path / "a", capture_output=True)
    assert run.returncode == 0 and run.stdout.count(b": OK") == len(FILES)


@given(st.data())
def test_every_edit_is_found(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("edited") / "a"
    digest = crate.write(path, FILES)
    name = data.draw(st.sampled_from([*FILES, crate.MANIFEST]))
    content = bytearray((path / name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (path / name).write_bytes(content)
    try:
        assert crate.read(path).digest != digest  # of the list itself: then it is another crate
        assert name == crate.MANIFEST
    except CrateError as error:
        assert str(path) in error.message


@pytest.mark.parametrize("name", sorted(FILES))
def test_files_that_are_gone_are_named(tmp_path, name):
    crate.write(tmp_path / "a", FILES)
    (tmp_path / "a" / name).unlink()
    with pytest.raises(CrateError, match=r"not a crate|was changed since it was written"):
        crate.read(tmp_path / "a")


@pytest.mark.parametrize("line", ["../../etc/passwd", "/etc/passwd", "a/../../b", ""])
def test_names_that_lead_out_of_a_crate_are_refused(tmp_path, line):
    crate.write(tmp_path / "a", FILES)
    with (tmp_path / "a" / crate.MANIFEST).open("a") as file:
        file.write(f"{hashlib.sha256(b'').hexdigest()}  {line}\n")
    with pytest.raises(CrateError, match="no list of digests"):
        crate.read(tmp_path / "a")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_files_that_are_no_crates(tmp_path, content):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(CrateError, match=r"cannot be read|not a crate"):
        crate.read(path)


def test_zip_file_that_was_cut(tmp_path):
    crate.write(tmp_path / "a.zip", FILES)
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:-40])
    with pytest.raises(CrateError):
        crate.read(tmp_path / "a.zip")


def test_what_is_of_others_stays(tmp_path):
    (tmp_path / "thesis.zip").write_bytes(b"mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("thesis.txt", "mine")
    for name in ("thesis.zip", "folder", "file", "other.zip"):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(CrateError, match="something else"):
            crate.write(tmp_path / name, FILES)
        assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_own_crates_are_replaced_and_nothing_of_before_is_left(tmp_path):
    crate.write(tmp_path / "a", {**FILES, "inputs/old.json": b"{}"})
    crate.write(tmp_path / "a", FILES)
    assert not (tmp_path / "a" / "inputs" / "old.json").exists()
    assert crate.read(tmp_path / "a").files == FILES


def test_places_have_neither_home_nor_signature(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ada")
    folder = Path("/home/ada/maize")
    assert portable("/home/ada/maize/scenes/a.SAFE", folder) == "scenes/a.SAFE"
    assert portable("/home/ada/data/a.SAFE", folder) == "~/data/a.SAFE"
    assert portable("/data/a.SAFE", folder) == "/data/a.SAFE"
    assert portable("https://user:secret@host/a.zarr?sig=secret#x", folder) == "https://host/a.zarr"
    assert public("s3://bucket/a") == "s3://bucket/a"
    told = {"a": ["/home/ada/x", "/home/adam/x", {"b": "/home/ada"}], "c": 1}
    assert without_home(told) == {"a": ["~/x", "/home/adam/x", {"b": "~"}], "c": 1}


def document(**values) -> crate.Crate:
    campaign = {
        "name": "a",
        "aoi": [0, 0, 1, 1],
        "cube": {"path": "/data/cubes/a"},
        "scenes": {"paths": ["x"]},
        "store": {"dsn": "postgresql://db/prod"},
        "reductions": [],
        **values,
    }
    files = {
        crate.CAMPAIGN: crate.as_json({"file": "a.yaml", "campaign": campaign}),
        crate.INPUTS: crate.as_json({"products": [], "files": [], "campaigns": {}}),
        crate.RUN: crate.as_json({"folder": "/nowhere"}),
    }
    return crate.Crate(Path("a.crate"), "0", files)


def test_outputs_go_into_the_folder_and_never_into_a_database(tmp_path):
    reductions = [{"name": "m", "kind": "composite", "outputs": {"path": "../shared/out"}}]
    made = document(reductions=reductions)
    text = campaign_of(made, tmp_path, find(made, Given()), run_code=False)
    told = json.loads(text.partition("\n")[2])
    assert told["store"] == {"path": "a.gpkg"} and told["cube"]["path"] == "a"
    assert told["reductions"][0]["outputs"]["path"] == "out"


@pytest.mark.parametrize("path", ["..", "../..", "/", "~", "a/../..", "/a/.."])
def test_no_output_leaves_the_folder(tmp_path, path):
    reductions = [{"name": "m", "kind": "composite", "outputs": {"path": path}}]
    made = document(reductions=reductions, cube={"path": path})
    told = json.loads(campaign_of(made, tmp_path, find(made, Given()), run_code=False).partition("\n")[2])
    for found in (told["cube"]["path"], told["reductions"][0]["outputs"]["path"]):
        assert (tmp_path / found).resolve().is_relative_to(tmp_path) and (tmp_path / found).resolve() != tmp_path


@pytest.mark.parametrize("field", ["steps", "extensions"])
def test_commands_of_others_are_not_run(tmp_path, field):
    made = document(**{field: [{"name": "x", "command": "rm -rf /"}]})
    with pytest.raises(CrateError, match=f"has {field}"):
        campaign_of(made, tmp_path, find(made, Given()), run_code=True)


@pytest.mark.parametrize(
    "settings", [{"kind": "function"}, {"kind": "predict"}, {"kind": "graph", "udf": {"images": {}}}]
)
def test_code_of_others_needs_a_word(tmp_path, settings):
    made = document(reductions=[{"name": "f", **settings}])
    with pytest.raises(CrateError, match="runs code") as caught:
        campaign_of(made, tmp_path, find(made, Given()), run_code=False)
    assert "--run-code" in str(caught.value.hint)


def test_commit_is_that_of_git(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
        return subprocess.run(
            ["git", *settings, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()

    (tmp_path / "hpckit" / "base").mkdir(parents=True)
    monkeypatch.setattr(commit, "__file__", str(tmp_path / "hpckit" / "base" / "commit.py"))
    git("init", "-q")
    assert commit.commit() == ""
    git("commit", "-q", "--allow-empty", "-m", "one")
    assert commit.commit() == git("rev-parse", "HEAD")
    git("pack-refs", "--all")
    assert commit.commit() == git("rev-parse", "HEAD")
    git("checkout", "-q", "--detach")
    assert commit.commit() == git("rev-parse", "HEAD")
    git("worktree", "add", "-q", "-b", "side", "tree")
    monkeypatch.setattr(commit, "__file__", str(tmp_path / "tree" / "hpckit" / "base" / "commit.py"))
    assert commit.commit() == git("rev-parse", "side")
