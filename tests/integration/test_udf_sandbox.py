"""Code of users in a real Apptainer: what it gets and gives, and that it cannot do harm."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from hpckit.errors import UserCodeError
from hpckit.reduce.udf.block import Block
from hpckit.reduce.udf.sandbox import Image, Sandbox
from tests.servers import apptainer

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

TIMES = tuple(f"2024-{month:02d}-01T10:30:00Z" for month in range(1, 7))


def block(pixels: int = 8) -> Block:
    values = np.random.default_rng(7).uniform(0, 1, (6, 2, pixels, pixels)).astype(np.float32)
    values[1, 0, 2, 3] = np.nan
    labels = {"t": TIMES, "bands": ("B04", "B08"), "x": tuple(np.arange(pixels) * 10.0 + 5)}
    return Block(values, ("t", "bands", "y", "x"), labels, frozenset({"t"}))


def code(body: str, head: str = "import xarray") -> str:
    """Code whose `apply_datacube` has a body."""
    signature = "def apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray:"
    return f"{head}\n{signature}\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"


def fault(sandbox: Sandbox, text: str) -> UserCodeError:
    with pytest.raises(UserCodeError) as caught:
        sandbox.call(text, block())
    return caught.value


def test_what_user_code_gets_and_gives(sandbox):
    said: list[tuple[str, str]] = []
    text = code(
        """
        inspect(message="seen", data=cube.shape, level="warning")
        print(cube.t.dtype, cube.bands.values.tolist(), float(cube.x[1]), context["factor"])
        low = cube.sel(bands="B04") * context["factor"]
        return low.groupby("t.month").mean().rename(month="t").assign_coords(t=["a", "b", "c", "d", "e", "f"])
        """,
        "import xarray\nfrom openeo.udf import inspect",
    )
    made = sandbox(log=lambda level, line: said.append((level, line))).call(text, block(), {"factor": 3})
    assert made.dims == ("t", "y", "x") and made.labels == {"t": tuple("abcdef")}
    np.testing.assert_array_equal(made.values, block().values[:, 0] * np.float32(3))
    assert ("warning", "seen (6, 2, 8, 8)") in said
    assert ("info", "datetime64[ns] ['B04', 'B08'] 15.0 3") in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (code("return cube.median('t')"), lambda values: np.nanmedian(values, 0)),
        ("def apply_datacube(cube, context):\n    return cube + 1\n", lambda values: values + 1),
        (
            "from openeo.udf import XarrayDataCube\n"
            "def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:\n"
            "    return XarrayDataCube(cube.get_array() * 2)\n",
            lambda values: values * 2,
        ),
        (
            "from __future__ import annotations\nfrom openeo.udf.xarraydatacube import XarrayDataCube\n"
            "def apply_hypercube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:\n"
            "    return XarrayDataCube(cube.array.transpose('y', 'x', 't', 'bands'))\n",
            lambda values: values.transpose(2, 3, 0, 1),
        ),
        (
            "from pandas import Series\n"
            "def apply_timeseries(series: Series, context: dict) -> Series:\n    "
            "return series.interpolate().cumsum()\n",
            None,
        ),
        (
            "from openeo.udf import UdfData, XarrayDataCube\ndef anything(data: UdfData):\n"
            "    cubes = data.get_datacube_list()\n"
            "    data.set_datacube_list([XarrayDataCube(cube.get_array().max('bands')) for cube in cubes])\n",
            lambda values: np.nanmax(values, 1),
        ),
        (
            "from openeo.udf.udf_data import UdfData\ndef apply_udf_data(data: UdfData):\n"
            "    a = data.datacube_list[0]\n    data.datacube_list = [DataCube(np.abs(a.array))]\n",
            np.abs,
        ),
    ],
)
def test_all_functions_of_the_client(sandbox, text, expected):
    made = sandbox().call(text, block())
    if expected is None:
        import pandas as pd

        frame = pd.DataFrame(block().values.reshape(6, -1)).interpolate().cumsum()
        np.testing.assert_allclose(made.values.reshape(6, -1), frame.to_numpy(), rtol=1e-6)
    else:
        np.testing.assert_array_equal(made.values, expected(block().values))


def test_non_finite_numbers_booleans_and_integers_come_back_as_they_are(sandbox):
    one = sandbox()
    made = one.call(code("return cube.where(cube < 0.5, float('inf'))"), block())
    assert np.isinf(made.values).any() and made.values.dtype == np.float32
    assert one.call(code("return cube > 0.5"), block()).values.dtype == np.bool_
    assert one.call(code("return (cube.fillna(0) * 100).astype('int16')"), block()).values.dtype == np.int16


def test_a_module_is_loaded_once_and_may_keep_state(sandbox):
    text = code("count.append(1)\nreturn cube * 0 + len(count)", "import xarray\ncount = []")
    one = sandbox()
    assert [float(one.call(text, block()).values[0, 0, 0, 0]) for _ in range(3)] == [1, 2, 3]
    fault(one, code("raise ValueError"))
    assert float(one.call(text, block()).values[0, 0, 0, 0]) == 1, "after a fault everything begins again"


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("def apply_datacube(cube, context)\n    return cube\n", "syntax", "line 1"),
        ("def other(cube):\n    return cube\n", "no-function", "it defines other"),
        (code("return cube.values"), "exception", "returned ndarray"),
        (code("return None"), "exception", "returned NoneType"),
        (code("return cube.astype(str)"), "type", "<U"),
        (code("return cube.astype(complex)"), "type", "complex128"),
        (code("return cube.expand_dims(n=100000)"), "output", "limit: output"),
        (code("import a_package_that_is_not_there"), "package", "a_package_that_is_not_there"),
        (code("import os; print('last words'); os._exit(7)"), "ended", "exit code 7"),
        (code("import sys; sys.exit(1)"), "exception", "SystemExit"),
        (code("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"), "ended", "SIGSEGV"),
    ],
)
def test_mistakes_are_told(sandbox, text, kind, words):
    one = sandbox()
    error = fault(one, text)
    assert error.kind == kind and words in str(error), error
    np.testing.assert_array_equal(one.call(code("return cube"), block()).values, block().values)


def test_the_traceback_shows_the_users_lines_only(sandbox):
    text = "def inner(cube):\n    return cube.sel(bands='B99')\n" + code("return inner(cube)")
    error = fault(sandbox(), text)
    lines = error.traceback.splitlines()
    assert 'File "udf.py", line 5, in apply_datacube' in lines[0] and "return inner(cube)" in lines[1]
    assert "KeyError" in lines[-1] and "udf_host" not in error.traceback


HOSTILE = {
    "fork": ("processes", "import os\nwhile True:\n    os.fork()"),
    "threads": (
        "processes",
        "import threading, time\nwhile True:\n"
        "    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    ),
    "stubborn-fork": (
        "seconds",
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
    ),
    "memory": ("memory", "kept = []\nwhile True:\n    kept.append(bytearray(b'x' * 2**24))"),
    "memory-of-children": (
        "memory",
        "import os, time\nfor _ in range(6):\n    if not os.fork():\n        kept = bytearray(b'x' * 100 * 2**20)\n"
        "        time.sleep(60)\ntime.sleep(60)",
    ),
    "one-file": ("disk", "with open('/tmp/a', 'wb') as file:\n    while True:\n        file.write(b'x' * 2**20)"),
    "many-files": (
        "disk",
        "import time\nfor n in range(1000):\n    open(f'/tmp/{n}', 'wb').write(b'x' * 2**20)\n    time.sleep(0.02)",
    ),
    "shared-memory": (
        "disk",
        "import time\nfor n in range(1000):\n"
        "    open(f'/dev/shm/{n}', 'wb').write(b'x' * 2**20)\n    time.sleep(0.02)",
    ),
    "deep": (
        "disk",
        "import os, time\nos.chdir('/tmp')\nfor n in range(900):\n    os.mkdir('d' * 50)\n    os.chdir('d' * 50)\n"
        "os.chmod('.', 0)\ntime.sleep(60)",
    ),
    "open-files": ("files", "kept = [open('/dev/null') for _ in range(1000)]"),
    "home": (
        "outside",
        "import os\nopen(os.environ.get('OLD_HOME', '/home/hpckit-image') + '/.bashrc', 'a').write('x')",
    ),
    "root": ("outside", "open('/usr/lib/x', 'w').write('x')"),
    "block": ("outside", "open('/hpckit/in/block.npy', 'r+b').write(b'x')"),
    "program": ("outside", "open('/hpckit/host/udf_host.py', 'a').write('x')"),
    "endless": ("seconds", "while True:\n    pass"),
    "link": (
        "output",
        "import os\nimport numpy\ndef save(path, values, **other):\n    os.path.lexists(path) and os.unlink(path)\n"
        "    os.symlink('/etc/passwd', path)\nnumpy.save = save",
    ),
    "pipe": (
        "output",
        "import os\nimport numpy\ndef save(path, values, **other):\n    os.path.lexists(path) and os.unlink(path)\n"
        "    os.mkfifo(path)\nnumpy.save = save",
    ),
    "pickle": (
        "output",
        "import numpy\nreal = numpy.save\ndef save(path, values, **other):\n"
        "    real(path, numpy.array([print], object), allow_pickle=True)\nnumpy.save = save",
    ),
    "forged": (
        "ended",
        "import os\nfor n in range(3, 20):\n"
        "    try:\n        os.write(n, b'nonsense\\n')\n    except OSError:\n        pass",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_code_fails_with_the_limit_named(name, sandbox, udf_place: Path, tmp_path: Path):
    kind, body = HOSTILE[name]
    home = Path("/home") / apptainer.USER
    before = snapshot(home), snapshot(udf_place.parent)
    one = sandbox(seconds=4)
    begin = time.monotonic()
    error = fault(one, code(body + "\nreturn cube"))
    assert error.kind == kind, (error, error.traceback)
    assert kind in ("output", "ended") or f"limit: {kind}" in f"{error} {error.hint}".replace(
        "files of the machine", "outside"
    )
    assert time.monotonic() - begin < 60
    np.testing.assert_array_equal(one.call(code("return cube"), block()).values, block().values)
    one.close()
    assert not processes_of(udf_place), "something of it still runs"
    assert sorted(path.name for path in one.scratch.iterdir()) == ["log"]
    assert (snapshot(home), snapshot(udf_place.parent)) == before


def snapshot(folder: Path) -> dict[str, float]:
    """Changes of files in a folder and the folders in it; caches of Apptainer and folders of tests aside."""
    found = {}
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        if ".apptainer" not in path.parts and not path.relative_to(folder).parts[0].startswith("run-"):
            found[str(path)] = path.lstat().st_mtime_ns
    return found


def processes_of(place: Path) -> list[str]:
    """Processes that see folders of a place as theirs: those in containers of one test."""
    time.sleep(0.2)
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"{place}/" in (path / "mountinfo").read_text():
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_there_is_no_network(sandbox):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        body = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 3)"
        error = fault(sandbox(), code(body))
        assert error.kind == "network" and "limit: network" in str(error)
        with pytest.raises(TimeoutError):
            server.accept()
    assert fault(sandbox(), code("import socket\nsocket.gethostbyname('example.org')")).kind == "network"


def test_secrets_and_open_files_are_not_inherited(sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SECRET_TOKEN", "tell-nobody")
    monkeypatch.setenv("APPTAINERENV_ANOTHER", "tell-nobody")
    monkeypatch.setenv("APPTAINER_BIND", "/etc:/mnt")
    (tmp_path / "secret").write_text("tell-nobody")
    body = """
        import glob, os
        for path in glob.glob("/proc/*/environ"):
            try:
                text = open(path, errors="replace").read()
            except OSError:
                continue
            assert "tell" + "-nobody" not in text, path
        assert not os.listdir("/mnt") and not os.listdir("/home"), os.listdir("/mnt")
        for name in os.listdir("/proc/self/fd"):
            try:
                print("open", os.readlink(f"/proc/self/fd/{name}"))
            except OSError:
                pass
        return cube
        """
    said: list[str] = []
    with (tmp_path / "secret").open() as file:
        os.set_inheritable(file.fileno(), True)
        sandbox(log=lambda level, line: said.append(line)).call(code(body), block())
    seen = [line for line in said if line.startswith("open")]
    assert seen and not [line for line in seen if "secret" in line or "socket" in line]


def test_only_a_part_of_much_output_is_kept(sandbox):
    said: list[tuple[str, str]] = []
    one = sandbox(log=lambda *line: said.append(line), log_kib=8)
    one.call(code("for _ in range(10000):\n    print('x' * 99)\nreturn cube"), block())
    assert sum(len(line) + 1 for _, line in said) < 10_000
    assert said[-1][0] == "warning" and "limit: 8 KiB" in said[-1][1]


def test_the_container_ends_with_the_process_that_started_it(udf_place: Path, udf_image_file: Path, tmp_path: Path):
    program = f"""
import numpy as np
from pathlib import Path
from hpckit.reduce.udf.block import Block
from hpckit.sites.udf import Limits
from hpckit.reduce.udf.sandbox import Image, Sandbox
sandbox = Sandbox(Image(Path({str(udf_image_file)!r})), Limits(), Path({str(udf_place)!r}), log=print)
sandbox.call("def apply_datacube(cube, context):\\n    return cube\\n", Block(np.zeros((1, 1)), ("y", "x")))
print("ready", flush=True)
endless = "def apply_datacube(cube, context):\\n    while True:\\n        pass\\n"
sandbox.call(endless, Block(np.zeros((1, 1)), ("y", "x")))
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(1)
    assert processes_of(udf_place)
    process.send_signal(signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 10
    while processes_of(udf_place):
        assert time.monotonic() < end, "the container outlives its worker"


def test_no_apptainer_and_no_image_are_told(sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    error = fault(sandbox(image=Image(tmp_path / "none.sif")), code("return cube"))
    assert error.kind == "image" and "none.sif" in str(error)
    (tmp_path / "wrong.sif").write_bytes(b"no image")
    error = fault(sandbox(image=Image(tmp_path / "wrong.sif")), code("return cube"))
    assert error.kind == "image" and "does not start" in str(error)
    monkeypatch.delenv("HPCKIT_APPTAINER")
    monkeypatch.setenv("PATH", str(tmp_path))
    error = fault(sandbox(), code("return cube"))
    assert error.kind == "image" and "Apptainer" in str(error)
