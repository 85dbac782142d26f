"""A real S3 server (moto) on loopback, and buckets in it."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from hpckit.inputs import s3files

_PROGRAM = Path(__file__).parents[2] / ".cache" / "s3" / "bin" / "moto_server"
_SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"}
"""The server wants a signature, and does not check it."""
_GIVEN = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "REGION": "eu-central-1"}


@contextmanager
def running() -> Iterator[str]:
    """Run it on a free port; gives its endpoint."""
    if not _PROGRAM.exists():
        pytest.skip("no S3 server: tests/services.sh installs one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(_PROGRAM), "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"{url}/moto-api/", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield url
        finally:
            server.terminate()


def give_access(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Let the environment of a test name the server."""
    for name in s3files._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in {**_GIVEN, "ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    s3files._store.cache_clear()


def make_bucket(endpoint: str, name: str) -> None:
    """Make a bucket."""
    request = urllib.request.Request(f"{endpoint}/{name}", method="PUT", headers=_SIGNED)
    urllib.request.urlopen(request, timeout=10).close()


def upload(endpoint: str, bucket: str, folder: Path, prefix: str = "") -> None:
    """Put the files of a folder into a bucket."""
    store = S3Store(
        bucket,
        endpoint=endpoint,
        access_key_id=_GIVEN["ACCESS_KEY_ID"],
        secret_access_key=_GIVEN["SECRET_ACCESS_KEY"],
        region=_GIVEN["REGION"],
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    for path in folder.rglob("*"):
        if path.is_file():
            obstore.put(store, f"{prefix}{path.relative_to(folder).as_posix()}", path.read_bytes())
