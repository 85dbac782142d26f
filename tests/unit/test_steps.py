"""Steps in the campaign file: words in braces, and what is refused with its field and remedy."""

from __future__ import annotations

from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.campaign.campaign import load_campaign
from hpckit.campaign.outputs import Listing
from hpckit.campaign.words import expand, words_in
from hpckit.errors import CampaignError
from hpckit.jobs.remote import staged_files
from hpckit.steps.command import ended

FILE = """\
name: c
aoi: [4, 51, 5, 52]
period: 2024-01-01/2024-12-31
scenes: {paths: [scenes]}
cube: {bands: [B04]}
steps:
"""
GOOD = {"name": "own", "each": "scene", "command": "tool {scene} {made}", "outputs": "{made: '{id}.tif'}"}


def load(tmp_path: Path, *steps: dict[str, str]):
    path = tmp_path / "c.yaml"
    path.write_text(
        FILE
        + "".join(
            "  - " + "\n    ".join(f"{key}: {value}" for key, value in {**GOOD, **step}.items() if value) + "\n"
            for step in steps
        )
    )
    return load_campaign(path)


@given(st.text(), st.text())
def test_what_is_escaped_comes_out_as_it_was(text: str, value: str):
    escaped = text.replace("{", "{{").replace("}", "}}")
    assert words_in(escaped) == []
    assert expand(escaped + "{id}" + escaped, {"id": value}) == text + value + text


@pytest.mark.parametrize("text", ["{", "}", "{a b}", "{1}", "{}", "{a}}", "${HOME"])
def test_a_brace_alone_is_refused(text: str):
    with pytest.raises(ValueError, match="brace stands alone"):
        words_in(text)


@pytest.mark.parametrize("text", ["{scene} {scene}", "x{id}y", "{{{id}}}"])
def test_values_are_not_looked_at_again(text: str):
    assert "{cube}" in expand(text, {"scene": "{cube}", "id": "{cube}"})


def test_a_command_line_is_cut_like_a_shell_would(tmp_path: Path):
    campaign = load(tmp_path, {"command": """tool 'a b' "{scene}" $HOME \\n"""})
    assert campaign.steps[0].command == ["tool", "a b", "{scene}", "$HOME", "n"]
    assert campaign.steps[0].stage == "exec-own" and campaign.step("exec-own") is campaign.steps[0]
    assert campaign.step("ingest") is None


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"command": "tool 'it"}, "cannot be split into words"),
        ({"command": "tool {scnee} {made}"}, "unknown word {scnee}; did you mean {scene}?"),
        ({"command": "tool {cube}"}, "unknown word {cube}"),
        ({"each": "tile", "command": "tool {scene} {made}", "outputs": "{made: '{tile}'}"}, "unknown word {scene}"),
        ({"outputs": "{made: '../{id}'}"}, "must lie within the step's folder"),
        ({"outputs": "{made: '/etc/{id}'}"}, "must lie within the step's folder"),
        ({"outputs": "{made: '{scene}.tif'}"}, "unknown word {scene}"),
        ({"outputs": "{id: '{id}'}", "command": "tool"}, "'id' has a meaning already"),
        ({"outputs": "{made: '{id}_*'}"}, "output made is a pattern"),
        ({"outputs": "{}", "command": "tool"}, "at least 1 item"),
        ({"name": "ingest"}, "has the name of a stage of hpckit's own"),
        ({"after": "signatures"}, "waits for 'signatures'"),
        ({"after": "own"}, "waits for 'own'"),
        ({"each": "tile", "after": "export", "command": "t", "outputs": "{m: '{tile}'}"}, "there is ingest"),
        ({"scenes": "{paths: [x]}", "after": "ingest"}, "leave `after` out"),
        ({"scenes": "{paths: [x]}", "each": "tile", "command": "t", "outputs": "{m: '{tile}'}"}, "makes products"),
        ({"image": "x.sif", "command": "'{python} {made}'"}, "the image lacks; write python3"),
        ({"scenes": "{paths: [x], collection: landsat}"}, "collection"),
        ({"memory": "3"}, "did you mean 'memory_mib'?"),
        ({"command": "./tool {made}"}, "write {folder}/./tool"),
        ({"outputs": "{made: '.hidden/{id}'}"}, "must lie within the step's folder"),
        ({"outputs": "{made: '**/{id}'}", "command": "t"}, "`**` is not known here"),
        ({"timeout": "soon"}, "write a walltime like"),
        ({"environment": "{'A B': x}"}, "environment"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, step: dict[str, str], message: str):
    with pytest.raises(CampaignError) as caught:
        load(tmp_path, step)
    assert message in str(caught.value) and "c.yaml:" in str(caught.value)


FREE = st.text("ab*?[].", min_size=1, max_size=8).filter(lambda text: text not in (".", ".."))


@given(FREE, st.text("ab*?[", max_size=4), st.lists(FREE, max_size=6, unique=True))
def test_patterns_find_what_globs_find_and_values_are_none(value: str, rest: str, names: list[str]):
    with TemporaryDirectory() as place:
        folder = Path(place)
        for name in [*names, value + "b", value + "ab"]:
            (folder / name).touch()
        listed = [path.name for path in folder.iterdir()]
        found = {path.name for path in Listing().find(folder, "{id}" + rest + "*b", {"id": value})}
        assert found == {name for name in listed if fnmatchcase(name, escape(value) + rest + "*b")}


def test_patterns_find_nothing_hidden_and_look_into_folders(tmp_path: Path):
    for name in ("x/1.tif", "y/2.tif", "y/3.txt", ".hidden/4.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = Listing().find(tmp_path, "*/*.tif", {})
    assert [str(path.relative_to(tmp_path)) for path in found] == ["x/1.tif", "y/2.tif"]
    assert not list(Listing().find(tmp_path, "none/*", {}))


def test_every_way_to_end_is_told():
    assert all(ended(code).startswith("the command ") for code in [*range(-64, 0), *range(1, 256)])


def test_two_steps_of_one_name(tmp_path: Path):
    with pytest.raises(CampaignError, match="two steps are named 'own'"):
        load(tmp_path, {}, {})


def test_two_steps_of_one_output(tmp_path: Path):
    with pytest.raises(CampaignError, match=r"'own' and 'two' would both write \{id\}\.tif into x"):
        load(tmp_path, {"into": "x"}, {"name": "two", "into": "x"})
    assert len(load(tmp_path, {}, {"name": "two"}).steps) == 2


def test_inputs_are_staged_with_a_campaign(tmp_path: Path):
    (tmp_path / "tool.py").touch()
    inputs = {"inputs": "{script: tool.py, other: at-the-site.bin, own: 'aux/{date}'}"}
    assert tmp_path / "tool.py" in staged_files(load(tmp_path, inputs))
    with pytest.raises(CampaignError, match=r"input script of step own: .* lies outside"):
        (tmp_path.parent / "tool.py").touch()
        staged_files(load(tmp_path, {"inputs": "{script: ../tool.py}"}))
