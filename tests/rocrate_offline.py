"""roc-validator and ro-crate-py without a network: JSON of what they say of crates; run it by their interpreter.

Arguments are profile and folder, by turns. The validator asks for the context of RO-Crate 1.1, which ro-crate-py
brings along.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import rocrate
from requests import ConnectionError as NoNetworkError
from requests import Response
from rocrate.rocrate import ROCrate
from rocrate_validator import models, services
from rocrate_validator.utils import http

CONTEXT = Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld"


def get(_: object, url: str, **__: object) -> Response:
    """The context; nothing else can be had."""
    if url.rstrip("/") != json.loads(CONTEXT.read_bytes())["@id"]:
        raise NoNetworkError(url)
    answer = Response()
    answer.url, answer.status_code, answer._content = url, 200, CONTEXT.read_bytes()
    answer.headers["Content-Type"] = "application/ld+json"
    return answer


def told(profile: str, folder: str) -> dict[str, object]:
    """Whether the folder passes, which checks it fails, and what a reader finds."""
    settings = services.ValidationSettings(
        rocrate_uri=folder,
        profile_identifier=profile,
        requirement_severity=models.Severity.RECOMMENDED,
        skip_availability_check=True,
    )
    issues = services.validate(settings).get_issues()
    by_severity: dict[str, object] = {
        severity.name: sorted(
            {f"{issue.check.identifier}: {issue.message}" for issue in issues if issue.severity == severity}
        )
        for severity in (models.Severity.REQUIRED, models.Severity.RECOMMENDED)
    }
    read = ROCrate(folder)
    [action] = [entity for entity in read.get_entities() if "CreateAction" in entity.type]
    return by_severity | {
        "agent": action["agent"]["name"],
        "instrument": action["instrument"].id,
        "results": len(action["result"]) if isinstance(action["result"], list) else 1,
        "files": sorted(entity.id for entity in read.data_entities),
    }


http.HttpRequester.get = get
print(json.dumps([told(*pair) for pair in zip(sys.argv[1::2], sys.argv[2::2], strict=True)]))
