"""Whether the jobs of a campaign run code of users is known from the graph, however its text is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpckit.campaign.campaign import load_campaign
from hpckit.jobs.usercode import computes_user_code
from tests.graph_examples import Graph, calling, load, node, of, write_job


def graph(name: str) -> Graph:
    return {
        "load": load("c", bands=["B04"]),
        "text": node("apply", data=of("load"), process=calling("add", "x", y=1)),
        "made": {**node("filter_bands", data=of("text"), bands=[name]), "result": True},
    }


@pytest.mark.parametrize(
    ("made", "escaped", "runs"),
    [
        (node("run_udf", data=of("text"), udf="x", runtime="Python"), False, True),
        (node("run_udf", data=of("text"), udf="x", runtime="Python"), True, True),
        (node("filter_bands", data=of("text"), bands=["run_udf"]), False, False),
    ],
)
def test_code_of_users_in_jobs(tmp_path: Path, made: Graph, escaped: bool, runs: bool) -> None:
    path = write_job(tmp_path, {**graph("B04"), "made": {**made, "result": True}}, {})
    if escaped:
        text = (tmp_path / "graph.json").read_text()
        (tmp_path / "graph.json").write_text(text.replace("run_udf", "run\\u005fudf"))
        assert json.loads((tmp_path / "graph.json").read_text()) == json.loads(text)
    campaign = load_campaign(path)
    assert computes_user_code(campaign, "graph") == runs
    assert not computes_user_code(campaign, "results")
