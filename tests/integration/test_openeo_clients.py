"""openEO's Python client as people use it: connect, login, batch jobs, results at once, many jobs at a time."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests import graph_examples
from tests.integration.openeo_samples import door_settings, openeo_door
from tests.integration.serving import server
from tests.integration.test_openeo_jobs import follower_of, free_port, settings_file
from tests.servers.oidc import Provider, providing
from tests.servers.openeo_clients import require_clients, run_client, start_client

pytestmark = [pytest.mark.integration, pytest.mark.openeo, pytest.mark.slow]

EGI = "urn:mace:egi.eu:group:eo.example.org:role=member#aai.egi.eu"


@pytest.fixture(autouse=True)
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of this machine of the test's own."""
    require_clients()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))


MEDIAN = """
import json, sys
import openeo

connection = openeo.connect(sys.argv[1])
connection.authenticate_basic("anna", "annas password")
assert connection.list_collection_ids() == ["S2"]
bands = connection.describe_collection("S2")["cube:dimensions"]["bands"]["values"]
assert bands[:2] == ["B04", "B08"], bands
cube = connection.load_collection("S2", bands=["B04", "B08"])
scl = connection.load_collection("S2", bands=["SCL"]).band("SCL")
median = cube.mask(scl >= 8).reduce_dimension(dimension="t", reducer="median")
assert median.validate() == [], median.validate()
job = median.execute_batch("median.tif", title="median")
assert job.status() == "finished" and job.logs()
metadata = job.get_results().get_metadata()
assert metadata["properties"]["proj:epsg"] == 32631
three = {"one": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
connection.save_user_defined_process("evi", three)
assert [item["id"] for item in connection.list_user_defined_processes()] == ["evi"]
small = dict(west=601000, south=5690000, east=602000, north=5691000, crs=32631)
median.filter_bbox(**small).download("small.nc", format="netCDF")
import netCDF4

with netCDF4.Dataset("small.nc") as found:
    assert {"B04", "B08"} <= set(found.variables) and found.dimensions["x"].size == 100
stopped = median.create_job(title="never")
stopped.start(); stopped.stop(); stopped.delete()
assert [item["id"] for item in connection.list_jobs()] == [job.job_id]
print(json.dumps({"job": job.job_id}))
"""


def test_python_client(ingested: Path, tmp_path: Path):
    with openeo_door(door_settings(tmp_path, {"S2": ingested})) as url:
        run_client(MEDIAN, url, folder=tmp_path)
        with rasterio.open(tmp_path / "median.tif") as source:
            np.testing.assert_allclose(source.read(), graph_examples.expected_median(ingested), atol=1e-6)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with providing(tmp_path_factory.mktemp("provider"), {"anna": [EGI], "eve": []}) as found:
        found.clients.append(found.for_openeo("openeo-clients"))
        found.stop()
        found.start()
        yield found


DEVICE = """
import sys
import openeo

connection = openeo.connect(sys.argv[1])
connection.authenticate_oidc_device(store_refresh_token=True, use_pkce=True, max_poll_time=60)
try:
    account = connection.describe_account()
except openeo.rest.OpenEoApiError as error:
    print("REFUSED", error.code, error.message)
else:
    print("ACCOUNT", account["user_id"])
    connection = openeo.connect(sys.argv[1])
    connection.authenticate_oidc_refresh_token()
    print("AGAIN", connection.describe_account()["user_id"])
"""


@pytest.mark.parametrize("account", ["anna", "eve"])
def test_device_login(provider: Provider, ingested: Path, tmp_path: Path, account: str):
    (tmp_path / "secret").write_text("a secret/with+signs & more")
    (tmp_path / "secret").chmod(0o600)
    oidc = {
        "name": "egi",
        "issuer": provider.issuer,
        "client_id": "hpckit-secret",
        "client_secret_file": tmp_path / "secret",
        "audiences": ["openeo-clients"],
        "scopes": ["openid", "profile", "eduperson_entitlement", "offline_access"],
        "join": "join the VO eo.example.org at https://aai.example.org",
    }
    settings = door_settings(
        tmp_path,
        {"S2": ingested},
        oidc=[oidc],
        grants=[{"entitlements": [EGI]}],
        openeo={"clients": [{"provider": "egi", "id": "openeo-clients"}]},
    )
    with openeo_door(settings) as url:
        client = start_client(DEVICE, url, folder=tmp_path)
        assert client.stdout is not None
        told = ""
        for line in client.stdout:
            told += line
            address = re.search(r"http://localhost:\d+/device\?user_code=[\w-]+", line)
            if address is not None:
                break
        else:
            raise AssertionError(f"the client prints no address: {told}")
        provider.confirm_device(address[0], account)
        told += client.stdout.read()
        assert client.wait(60) == 0, told
        if account == "anna":
            found = re.findall(r"^(?:ACCOUNT|AGAIN) (u-[a-z2-7]{16})$", told, re.MULTILINE)
            assert len(found) == 2 and found[0] == found[1], told
        else:
            assert "REFUSED PermissionsInsufficient" in told and "join the VO" in told, told


MANY = """
import sys, threading, time
import pandas as pd
import openeo
from openeo.extra.job_management import MultiBackendJobManager, create_job_db

connection = openeo.connect(sys.argv[1])
connection.authenticate_basic("anna", "annas password")

def start_job(row, connection, **kwargs):
    box = dict(west=601000 + 20 * int(row["number"]), south=5690000, east=601200 + 20 * int(row["number"]),
               north=5690200, crs=32631)
    cube = connection.load_collection("S2", bands=["B04"], spatial_extent=box)
    largest = cube.reduce_dimension(dimension="t", reducer="max").save_result("GTiff")
    return largest.create_job(title=str(row["number"]))

manager = MultiBackendJobManager(poll_sleep=3, root_dir="jobs")
manager.add_backend("here", connection=connection, parallel_jobs=6)
database = create_job_db("jobs.csv", df=pd.DataFrame({"number": range(int(sys.argv[2]))}))
manager.run_jobs(start_job=start_job, job_db=database)
print(pd.read_csv("jobs.csv")["status"].value_counts().to_json())
"""


@pytest.mark.timeout(900)
def test_many_jobs_while_gateway_and_follower_are_killed(ingested: Path, tmp_path: Path):
    """`HPCKIT_OPENEO_JOBS=50` is the acceptance; fewer by default, since each starts processes on two cores."""
    count = int(os.environ.get("HPCKIT_OPENEO_JOBS", "12"))
    config, listen = settings_file(tmp_path, ingested), f"127.0.0.1:{free_port()}"
    with server(tmp_path / "home", "--config", config, "--listen", listen) as (_, process):
        client = start_client(MANY, f"http://{listen}/openeo/1.2", count, folder=tmp_path)
        for number in range(2):
            time.sleep(8 + 7 * number)
            pid = follower_of(tmp_path)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        time.sleep(6)
        process.kill()
        process.wait()
    with server(tmp_path / "home", "--config", config, "--listen", listen):
        told = client.communicate(timeout=800)[0]
        assert client.returncode == 0, told[-4000:]
    assert json.loads(told.strip().splitlines()[-1]) == {"finished": count}, told[-4000:]
    jobs = tmp_path / "state" / "openeo" / "jobs"
    whole = {job.name: len(list(job.glob("*.run/submissions/*/committed"))) for job in jobs.glob("j-*")}
    started = {name: number for name, number in whole.items() if number}
    logs = [(jobs / name / "log.jsonl").read_text() for name, number in started.items() if number > 1]
    assert len(started) == count and not logs, (whole, logs)
