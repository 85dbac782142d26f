"""openEO's JavaScript client in Node: found by the address of the server, a job, and a result at once."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.integration.openeo_samples import door_settings, openeo_door
from tests.integration.openeo_scenes import LEFT, TOP, reflectance
from tests.servers.npm import installed

pytestmark = [pytest.mark.integration, pytest.mark.openeo, pytest.mark.slow]

VERSION = "2.12.0"
SCRIPT = """
const { OpenEO } = require("@openeo/js-client");

async function main(address, box) {
  const connection = await OpenEO.connect(address);
  await connection.authenticateBasic("anna", "annas password");
  const account = await connection.describeAccount();
  const { collections } = await connection.listCollections();
  const { processes } = await connection.listProcesses();
  const builder = await connection.buildProcess();
  const cube = builder.load_collection("SENTINEL2_L2A", box, ["2022-06-01", "2022-06-15"], ["B04", "B08"]);
  const largest = builder.reduce_dimension(cube, function (data) { return this.max(data); }, "t");
  const ndvi = builder.reduce_dimension(largest, function (data) {
    return this.normalized_difference(data["B08"], data["B04"]);
  }, "bands");
  const result = builder.save_result(ndvi, "GTiff");

  const faults = await connection.validateProcess(result);
  const wrong = await connection.buildProcess();
  const saved = wrong.save_result(wrong.load_collection("SENTINEL2_L2A", box, null, ["B99"]), "GTiff");
  const found = await connection.validateProcess(saved);

  const job = await connection.createJob(result, "largest");
  const states = [job.status], messages = [];
  await job.startJob();
  await new Promise((resolve, reject) => {
    job.monitorJob((seen, logs) => {
      states.push(seen.status);
      messages.push(...logs.map((entry) => entry.message));
      if (seen.status === "finished") resolve();
      if (["error", "canceled"].includes(seen.status)) reject(new Error(messages.join("; ")));
    }, 2);
  });
  const errors = await job.debugJob("error").nextLogs();
  const files = await job.downloadResults(".");
  await connection.downloadResult(result, "at_once.tif");
  const jobs = await connection.listJobs();
  await job.deleteJob();
  console.log(JSON.stringify({
    user: account.user_id, collections: collections.map((one) => one.id), processes: processes.length,
    faults: faults.length, found: found.map((one) => one.code), states, messages, errors: errors.length,
    files, jobs: jobs.length, left: (await connection.listJobs()).length,
  }));
}

main(process.argv[2], JSON.parse(process.argv[3])).catch((error) => { console.error(error); process.exit(1); });
"""


def test_javascript_client(optical: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    packages = installed("@openeo/js-client", VERSION)
    (tmp_path / "client.js").write_text(SCRIPT)
    box = {"west": LEFT + 100, "south": TOP - 900, "east": LEFT + 1000, "north": TOP - 200, "crs": 32632}
    with openeo_door(door_settings(tmp_path, {"SENTINEL2_L2A": optical})) as url:
        done = subprocess.run(
            ["node", "client.js", url.removesuffix("/openeo/1.2"), json.dumps(box)],
            cwd=tmp_path,
            env=os.environ | {"NODE_PATH": str(packages / "node_modules")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["user"] and told["collections"] == ["SENTINEL2_L2A"] and told["processes"] > 100
    assert told["faults"] == 0 and told["found"], told
    assert told["states"][0] == "created" and told["states"][-1] == "finished", told
    assert any(message.startswith("submitted to") for message in told["messages"]), told
    assert (told["errors"], told["jobs"], told["left"], len(told["files"])) == (0, 1, 0, 1)
    days = [reflectance(number) for number in range(3)]
    red, nir = (np.max([np.rint(day[band] * 1e4) / 1e4 for day in days], axis=0) for band in ("B04", "B08"))
    expected = ((nir - red) / (nir + red))[20:90, 10:100]
    for name in (told["files"][0], "at_once.tif"):
        with rasterio.open(tmp_path / name) as source:
            assert source.bounds[:2] == (box["west"], box["south"])
            np.testing.assert_allclose(source.read(1), expected, atol=1e-5)
