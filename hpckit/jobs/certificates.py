"""Certificates for one Dask cluster: made at its start, in a folder that only its user can read, removed at its end.

One key answers for scheduler, workers and clients: who holds it is the user who started the cluster.
"""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from pathlib import Path
from typing import Any, Final

from hpckit.base.account import home
from hpckit.errors import HpckitError

CERTIFICATE: Final = "certificate.pem"
KEY: Final = "key.pem"
_SKEW: Final = dt.timedelta(days=1)
"""Clocks of nodes may differ from that of the login node."""
_VALID: Final = dt.timedelta(days=60)


def private_folder(shared: Path | None) -> tempfile.TemporaryDirectory[str]:
    """Make a folder of mode 0700 on a file system that jobs see; it goes with the object that is returned.

    Parameters
    ----------
    shared : Path, optional
        Where to make it; `~/.cache/hpckit`, if not given.

    Raises
    ------
    HpckitError
        If no folder can be made there.
    """
    parent = shared or home() / ".cache" / "hpckit"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="dask-", dir=parent.absolute(), ignore_cleanup_errors=True)
    except OSError as error:
        raise HpckitError(
            f"{parent}: no folder for the certificates of Dask can be made ({error.strerror})",
            hint="name a folder that login node and compute nodes share: --shared FOLDER",
        ) from error


def write_certificate(folder: Path) -> None:
    """Write a new key and the certificate that it signed itself, readable by the user alone."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hpckit-dask")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _VALID)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write_private(folder / KEY, private)
    _write_private(folder / CERTIFICATE, certificate.public_bytes(pem))


def security(folder: Path) -> Any:
    """`distributed.Security` of a folder: TLS on every connection, each side with the certificate."""
    from distributed.security import Security

    certificate, key = str(folder / CERTIFICATE), str(folder / KEY)
    roles = {f"tls_{role}_cert": certificate for role in ("scheduler", "worker", "client")}
    keys = {f"tls_{role}_key": key for role in ("scheduler", "worker", "client")}
    return Security(require_encryption=True, tls_ca_file=certificate, **roles, **keys)


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
