"""Libraries in commands: they learn the same of packages beside them as elsewhere, and import none of these."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

COMMAND = """\
import sys, threading, time
import pytest
from hpckit.base.processes import QUIET, be_command
if "command" in sys.argv:
    be_command()
for name in sys.argv[2:]:
    threading.Thread(target=time.sleep, args=(60,), name=name, daemon=True).start()
"""
FLAGS = """\
import json
from hpckit.base.ogr import pyogrio
from pyogrio import _compat
flags = {name: value for name, value in vars(_compat).items() if isinstance(value, bool)}
kept = [name for name in ("geopandas", "pandas") if name in sys.modules]
import pandas
print(json.dumps([flags, kept, hasattr(pandas, "DataFrame")]))
"""


def _flags(kind: str) -> tuple[dict[str, bool], list[str], bool]:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND + FLAGS, *kind.split(",")], capture_output=True, text=True, check=True
    )
    return tuple(json.loads(done.stdout))


def test_pyogrio_knows_versions_of_packages_that_a_command_does_not_load():
    here, loaded, _ = _flags("process of a user's")
    there, kept, is_whole = _flags("command,hpckit-quiet-claim")
    assert there == here
    assert there["PANDAS_GE_22"]
    assert "pandas" in loaded
    assert kept == []
    assert is_whole


def test_threads_of_others_find_whole_packages():
    assert "pandas" in _flags("command,other")[1]


BLAS = """\
from hpckit.base.compiled import prepare_numba
prepare_numba()
print("scipy.linalg" in sys.modules)
import numba, numpy as np
from numba.np.arraymath import _HAVE_BLAS
product = numba.njit(lambda a: a @ a)(np.array([[1.0, 2.0], [3.0, 4.0]]))
print(_HAVE_BLAS, product.tolist())
"""


def test_numba_has_its_blas_where_a_command_did_not_load_scipy():
    told = []
    for kind in ("process of a user's", "command"):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", COMMAND + BLAS, kind], capture_output=True, text=True
        )
        told.append(done.stdout.split("\n", 1))
    assert told == [["True", "True [[7.0, 10.0], [15.0, 22.0]]\n"], ["False", "True [[7.0, 10.0], [15.0, 22.0]]\n"]]


TOGETHER = """\
from concurrent.futures import ThreadPoolExecutor
from hpckit.base.compiled import prepare_numba
with ThreadPoolExecutor(4) as pool:
    for done in [pool.submit(prepare_numba) for _ in range(4)]:
        done.result()
"""


def test_threads_of_a_server_may_need_kernels_at_once():
    subprocess.run([sys.executable, "-W", "ignore", "-c", COMMAND + TOGETHER, "command"], check=True)


ARROW = """\
import json, sys
from hpckit.base.arrowimport import spare_pandas
if "command" in sys.argv:
    spare_pandas()
import pyarrow as pa
plain = pa.array([1, 2, None], pa.int64()).to_pylist()
early = "pandas" in sys.modules
if "hpckit-quiet-convert" in sys.argv:
    frame = pa.table({"a": pa.array([1, 2])}).to_pandas()
import pandas as pd
series = pd.Series([1.5, None])
dated = pd.Series([pd.Timestamp("2024-05-01", tz="UTC"), pd.NaT])
column, times = pa.array(series), pa.array(dated)
table = pa.Table.from_pandas(pd.DataFrame({"kind": pd.Categorical(["x", "y", "x"])}))
back = table.to_pandas()
loader = pd.__spec__.loader
print(json.dumps([plain, column.null_count, times.null_count, str(times.type), str(table.schema.types),
                  str(back.dtypes["kind"]), type(loader).__name__, "exec_module" in vars(loader)]))
print(early, file=sys.stderr)
"""


def test_a_command_that_has_no_frames_loads_no_pandas_for_arrow():
    told = {}
    commands = ("command",), ("command", "hpckit-quiet-convert"), ("command", "other-thread")
    for words in (("user",), *commands):
        done = subprocess.run(
            [sys.executable, "-c", COMMAND + ARROW, *words], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        told[words] = json.loads(done.stdout), done.stderr.split()[-1]
    values, _ = told[("user",)]
    assert values[:4] == [[1, 2, None], 1, 1, "timestamp[us, tz=UTC]"]
    assert all(found == values for found, _ in told.values())
    assert [told[words][1] for words in commands] == ["False", "False", "True"]
