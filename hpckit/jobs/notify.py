"""Send a message about an update: by mail, to a webhook, or to a command.

Addresses of webhooks are secrets: they are never shown, logged or written to a run directory.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any, Final

_TIMEOUT_S: Final = 60
_SENDMAIL: Final = f"{os.defpath}:/usr/sbin:/usr/lib"


def notify(target: str, subject: str, text: str, facts: Mapping[str, Any]) -> str | None:
    """Send a message; return why that failed, in one sentence.

    Parameters
    ----------
    target : str
        `mailto:ADDRESS`, `https://…` (a POST request with JSON: `text` as chat programs show it, and the facts), or a
        command for the shell, which reads the facts as JSON on its standard input.
    subject, text : str
        For people.
    facts : mapping
        For programs; values of JSON.
    """
    kind = target.partition(":")[0].lower()
    if kind == "mailto":
        return _mail(target.partition(":")[2], subject, text)
    if kind in ("http", "https"):
        return _post(target, {"text": f"{subject}\n{text}", **facts})
    return _command(target, facts)


def _mail(address: str, subject: str, text: str) -> str | None:
    program = shutil.which("sendmail", path=f"{os.environ.get('PATH', '')}:{_SENDMAIL}")
    if program is None:
        return f"no mail to {address}: `sendmail` is not installed on this machine; notify a command or a webhook"
    message = EmailMessage()
    try:
        message["To"], message["Subject"] = address, subject.replace("\n", " ")
    except ValueError as error:
        return f"no mail to {address!r}: {error}"
    message.set_content(text)
    return _run([program, "-t", "-i"], message.as_bytes(), f"no mail to {address}")


def _post(url: str, body: Mapping[str, Any]) -> str | None:
    where = f"no message to {urllib.parse.urlsplit(url).hostname}"
    headers = {"Content-Type": "application/json", "User-Agent": "hpckit"}
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
            return None
    except urllib.error.HTTPError as error:
        return f"{where}: HTTP status {error.code}"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        return f"{where}: {reason}"


def _command(command: str, facts: Mapping[str, Any]) -> str | None:
    return _run(["/bin/sh", "-c", command], json.dumps(facts).encode(), "the command of --notify failed")


def _run(arguments: list[str], content: bytes, what: str) -> str | None:
    try:
        done = subprocess.run(arguments, input=content, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{what}: {type(error).__name__}"
    if done.returncode == 0:
        return None
    told = done.stderr.decode(errors="replace").strip().splitlines()
    return f"{what}: {told[-1] if told else f'exit code {done.returncode}'}"
