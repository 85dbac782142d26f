"""pyogrio in commands: it learns the same of geopandas and pandas as elsewhere, and imports neither."""

from __future__ import annotations

import json
import subprocess
import sys

FLAGS = """\
import json, sys
if sys.argv[1] == "command":
    from hpckit.base.processes import be_command
    be_command()
from hpckit.base.ogr import pyogrio
from pyogrio import _compat
flags = {name: value for name, value in vars(_compat).items() if isinstance(value, bool)}
kept = [name for name in ("geopandas", "pandas") if name in sys.modules]
import pandas
print(json.dumps([flags, kept, hasattr(pandas, "DataFrame")]))
"""


def _flags(kind: str) -> tuple[dict[str, bool], list[str], bool]:
    done = subprocess.run([sys.executable, "-c", FLAGS, kind], capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


def test_pyogrio_knows_versions_of_packages_that_a_command_does_not_load():
    here, loaded, _ = _flags("process of a user's")
    there, kept, is_whole = _flags("command")
    assert there == here
    assert there["PANDAS_GE_22"]
    assert "pandas" in loaded
    assert kept == []
    assert is_whole
