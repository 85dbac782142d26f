"""Servers of others under their own names, for programs that ask them by a proxy: real HTTPS, on loopback."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def running(folder: Path, hosts: Mapping[str, Answer]) -> Iterator[dict[str, str]]:
    """Run a proxy that is itself each of these hosts; gives the variables by which programs find and trust it.

    Parameters
    ----------
    folder : Path
        For its certificate.
    hosts : mapping of str
        Names, and what answers a GET or POST.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = ",".join(f"DNS:{host}" for host in hosts)
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-subj", "/CN=hpckit test", "-addext", f"subjectAltName={names}", "-days", "2"]
    subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Inside(BaseHTTPRequestHandler):
        """Of the connection to a host."""

        protocol_version = "HTTP/1.1"
        host = ""

        def do_GET(self) -> None:
            hosts[self.host](self)

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            name = self.path.partition(":")[0]
            if name not in hosts:
                self.send_error(502)
                return
            self.send_response(200)
            self.end_headers()
            with context.wrap_socket(self.connection, server_side=True) as secret:
                type("Bound", (Inside,), {"host": name})(secret, self.client_address, self.server)
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that went away is no news."""

    http = Server(("127.0.0.1", 0), Proxy)
    http.daemon_threads = True
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield {"HTTPS_PROXY": f"http://127.0.0.1:{http.server_port}", "SSL_CERT_FILE": str(certificate)}
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
