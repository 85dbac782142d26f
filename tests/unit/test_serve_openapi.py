"""All addresses that the OpenAPI documents name, asked with whatever fits and does not fit them (schemathesis)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from tests.asgi import ask
from tests.unit.look_samples import make_campaign
from tests.unit.serve_samples import ANNA, serve

pytestmark = pytest.mark.slow
DOCUMENTS = {"/api": 12, "/query": 12, "/stac/api": 10}
"""Address of each document, and how many paths it has at least."""
CHECKS = [not_a_server_error, content_type_conformance, status_code_conformance]
NAMES = {"dataset": "mine", "collection": "mine-cube", "zone": "17", "pid": "17", "aoi": "nl", "year": "2024"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("sample")
    service, made = serve(
        tmp_path_factory.mktemp("served"),
        make_campaign(folder),
        doors=["viewer", "stac", "jrc"],
        limits={"requests_per_second": 1e6, "burst": 10**6},
    )
    yield made
    service.close()


@pytest.mark.parametrize("path", list(DOCUMENTS))
def test_no_question_breaks_the_server(app, path):
    """Half of the questions have names that exist, so that they reach what answers."""
    answer = ask(app, path, headers=ANNA)
    assert answer.headers["content-type"].startswith("application/vnd.oai.openapi+json")
    assert len(answer.json["paths"]) >= DOCUMENTS[path]
    schema = schemathesis.openapi.from_asgi(path, app, headers=ANNA)
    statuses: Counter[int] = Counter()
    for result in schema.get_all_operations():
        _ask_often(result.ok().as_strategy(), statuses)
    assert statuses[200] > len(answer.json["paths"]), "what is there was reached"
    assert statuses[400] + statuses[404] > 0


def _ask_often(cases, statuses: Counter[int]) -> None:
    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def once(case):
        for place in (case.path_parameters, case.query):
            for name in set(place or ()) & set(NAMES) if statuses.total() % 2 else ():
                place[name] = NAMES[name]
        response = case.call(headers=ANNA)
        statuses[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    once()
