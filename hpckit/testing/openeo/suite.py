"""Plugin of pytest: openeo-test-suite runs its tests of single processes here, without a server.

In a checkout of openeo-test-suite, with its requirements and hpckit installed::

    pytest -p hpckit.testing.openeo.suite --runner=hpckit src/openeo_test_suite/tests/processes/processing
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpckit.testing.openeo.runner import ProcessRunner

if TYPE_CHECKING:
    import pytest
    from _pytest.fixtures import SubRequest


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: SubRequest) -> ProcessRunner | None:
    """Give the suite our runner where it would make one of its own."""
    if fixturedef.argname != "connection" or request.config.getoption("--runner", None) != "hpckit":
        return None
    runner = ProcessRunner()
    fixturedef.cached_result = (runner, fixturedef.cache_key(request), None)
    return runner
