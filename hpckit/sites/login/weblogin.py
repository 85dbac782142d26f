"""A rehearsal of SRAM's web login on this machine alone: the web side as a server, the terminal side as a dialogue.

The flow is that of pam-weblogin (SURFscz/pam-weblogin, README.md) with SBS: sshd's PAM module asks for a session, the
terminal shows a link, the browser shows a code after the login there, and the module has the code checked. Nothing
here is SRAM's, no name or code leaves the machine, and the answers of the server are those of a rehearsal.
"""

from __future__ import annotations

import html
import json
import secrets
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from hpckit.errors import LoginError

_RETRIES: Final = 3
"""As pam-weblogin is configured by default."""
_TIMEOUT_S: Final = 10

Ask = Callable[[str, str], str]
"""Asks a person: the prompt, and what a rehearsal without a person answers."""


class WebLogin:
    """The web side.

    Parameters
    ----------
    service : str
        Short name of the service.
    people : mapping of str to sequence of str
        User names, with the collaborations by which they use the service.
    """

    def __init__(self, service: str, people: Mapping[str, Sequence[str]]) -> None:
        self.service, self.people = service, people
        self.token = secrets.token_urlsafe(16)
        self.codes: dict[str, tuple[str, str]] = {}
        """User and code by session."""
        self.url = ""

    def start(self, user: str) -> dict[str, Any] | None:
        """Begin a session; None for who is in no collaboration of the service."""
        if user not in self.people:
            return None
        session = str(uuid.uuid4())
        self.codes[session] = (user, f"{secrets.randbelow(10_000):04d}")
        link = f"{self.url}/weblogin/{self.service}/{session}"
        challenge = f"Get a verification code via: {link} (or scan the QR code)"
        return {"session_id": session, "challenge": challenge}

    def check(self, session: str, code: str) -> dict[str, Any]:
        """Whether a code is that of a session; one that was right is used up."""
        user, right = self.codes.get(session, ("", ""))
        if not right or not secrets.compare_digest(code.encode(), right.encode()):
            return {"result": "FAIL"}
        del self.codes[session]
        return {"result": "SUCCESS", "username": user, "groups": list(self.people[user])}

    def page(self, session: str) -> str | None:
        """What the browser shows after the login there."""
        if session not in self.codes:
            return None
        user, code = self.codes[session]
        return (
            "<!doctype html><meta charset=utf-8><title>Rehearsal of a web login</title>"
            "<p>This is a rehearsal. Here SRAM sends you to the login of your institution, and then shows:</p>"
            f"<p>Service {html.escape(self.service)}, user {html.escape(user)}<p>Verification code: <b>{code}</b>"
        )


@contextmanager
def serving(login: WebLogin) -> Iterator[WebLogin]:
    """Serve the web side on this machine while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = login.page(self.path.rpartition("/")[2])
            self._answer(404 if page is None else 200, (page or "no such session").encode(), "text/html")

        def do_POST(self) -> None:
            given = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            if self.headers.get("Authorization") != f"Bearer {login.token}":
                return self._answer(401, b"{}", "application/json")
            started = self.path.endswith("/start")
            found = login.start(given["user_id"]) if started else login.check(given["session_id"], given["pin"])
            return self._answer(404 if found is None else 200, json.dumps(found).encode(), "application/json")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: the terminal belongs to the dialogue."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    login.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield login
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def dialogue(login: WebLogin, user: str, show: Callable[[str], None], ask: Ask) -> str:
    """The terminal side, as the PAM module behind sshd leads it; return the collaboration that was chosen.

    Raises
    ------
    LoginError
        If the user is in no collaboration of the service, or the code was wrong too often.
    """
    begun = _post(login, "start", {"user_id": user, "attribute": "username", "cache_duration": 30})
    if begun is None:
        raise LoginError(
            f"{user} is in no collaboration that uses {login.service}",
            hint="sshd shows a server error here, and not the reason",
        )
    show(begun["challenge"])
    for _ in range(_RETRIES):
        known = login.codes.get(begun["session_id"], ("", ""))[1]
        code = ask("Enter verification code: ", known)
        done = _post(login, "check-pin", {"session_id": begun["session_id"], "pin": code}) or {}
        if done.get("result") == "SUCCESS":
            return _chosen(done["groups"], show, ask)
        show("The code is not right.")
    raise LoginError(f"the code was wrong {_RETRIES} times", hint="sshd ends the connection here; connect again")


def _chosen(groups: Sequence[str], show: Callable[[str], None], ask: Ask) -> str:
    if len(groups) == 1:
        return groups[0]
    show("What group are you logging in for?")
    for number, name in enumerate(groups, 1):
        show(f"  [{number}] {name}")
    while True:
        answer = ask("Select group: ", "1")
        if answer.isdecimal() and 1 <= int(answer) <= len(groups):
            return groups[int(answer) - 1]
        show("This is none of the numbers.")


def _post(login: WebLogin, what: str, body: Mapping[str, object]) -> dict[str, Any] | None:
    headers = {"Authorization": f"Bearer {login.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{login.url}/pam-weblogin/{what}", json.dumps(body).encode(), headers)
    # Without the proxies of the environment: this address is the machine itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
