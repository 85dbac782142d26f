"""Starting the server: an address that is free, one line that says where, and an orderly end."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import webbrowser
from contextlib import suppress
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Final

import click

from hpckit.base.console import Console
from hpckit.base.distribution import pip_install
from hpckit.errors import HpckitError, ServeError
from hpckit.serve.settings import DEFAULT_PORT, Settings, split_address

if TYPE_CHECKING:
    from collections.abc import Callable

    import uvicorn

    from hpckit.serve.service import Service

_TRIED_PORTS: Final = 20
_WARM_ZOOM: Final = 13
_SWITCH_S: Final = 0.0005
"""How long a thread may compute while the one that sends and receives waits for it; Python's 5 ms add up."""


def serve(settings: Settings, *, any_port: bool, browser: bool, attached: bool, log_requests: bool) -> None:
    """Serve until the process is stopped.

    Parameters
    ----------
    any_port : bool
        Whether another port may be taken where the default one is in use.
    browser : bool
        Whether to open the viewer in the browser.
    attached : bool
        Whether to end with standard input. A line on it asks for another address that works once.
    log_requests : bool
        Whether to log each request.

    Raises
    ------
    ServeError
        If the settings make no sense, the address is in use, or packages are missing.
    """
    try:
        import uvicorn
    except ImportError:
        raise ServeError("the server needs packages that are not installed", hint=pip_install("serve")) from None
    import hpckit.base.ogr  # noqa: F401 # before there are other threads
    from hpckit.serve.app import build, log_to_stderr
    from hpckit.serve.connections import MOST_CONNECTIONS, PatientProtocol
    from hpckit.serve.service import open_service

    listener = _listen(settings, any_port=any_port)
    host, port = listener.getsockname()[:2]
    with listener:
        service = open_service(settings, Console())
        log_to_stderr(requests=log_requests)
        config = uvicorn.Config(
            build(service),
            log_level="warning",
            access_log=False,
            server_header=False,
            http=PatientProtocol,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            limit_concurrency=MOST_CONNECTIONS,
            h11_max_incomplete_event_size=64 * 1024,
        )
        address = settings.public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}"
        base = f"{address.rstrip('/')}{settings.prefix}/"

        def new_address() -> str:
            """An address that works once; the lasting one where there are logins, or nobody needs one."""
            is_lasting = settings.has_logins or settings.is_open
            return base if is_lasting else f"{base}enter?token={service.access.first_token()}"

        program = uvicorn.Server(config)

        def stop(*_: object) -> None:
            """End in order: before uvicorn listens to signals, and when it raises SIGTERM once more at its end."""
            program.should_exit = True

        signal.signal(signal.SIGTERM, stop)
        address = new_address()
        click.echo(address)
        if attached:
            threading.Thread(target=_attend, args=[new_address, program], daemon=True).start()
        # Waited for: a thread that is in compiled code when the interpreter ends may abort the process.
        warming = threading.Thread(target=_warm_up, args=[service, program])
        warming.start()
        if browser:
            webbrowser.open(address)
        sys.setswitchinterval(_SWITCH_S)
        with suppress(KeyboardInterrupt):
            try:
                program.run(sockets=[listener])
            finally:
                program.should_exit = True
                warming.join()
                service.close()


def _attend(new_address: Callable[[], str], program: uvicorn.Server) -> None:
    """Answer each line of standard input with an address; stop the program at its end."""
    for _ in sys.stdin:
        click.echo(new_address())
    program.should_exit = True


def _warm_up(service: Service, program: uvicorn.Server) -> None:
    """Read what the first visitor will ask for, and compile what draws it, until the program is to end."""
    from hpckit.look.mercator import map_tile_at
    from hpckit.look.tiles import draw_tile
    from hpckit.serve.viewer.shownlayers import shown

    for dataset in service.datasets.values():
        with suppress(HpckitError, OSError):  # said to whoever asks
            for reduction in dataset.campaign.signatures:
                if program.should_exit:
                    return
                dataset.edition.zones(reduction.name)
            if program.should_exit:
                return
            seen = shown(dataset)
            layer = next((choice.layer for choice in seen.choices.values() if choice.layer.composite is None), None)
            if layer is not None and seen.days and dataset.campaign.signatures and not program.should_exit:
                place = map_tile_at(_WARM_ZOOM, *dataset.edition.zones().middle)
                last = replace(layer, day=date.fromisoformat(seen.days[-1]["day"]))
                draw_tile(dataset.view, last, _WARM_ZOOM, *place, cache=service.overviews)


def _listen(settings: Settings, *, any_port: bool) -> socket.socket:
    host, port = split_address(settings.listen)
    ports = range(port, port + _TRIED_PORTS) if any_port and port == DEFAULT_PORT else (port,)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    fault: OSError | None = None
    for tried in ports:
        # With its protocol, asyncio sends small answers at once (TCP_NODELAY); without, each waits 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, tried))
        except OSError as error:
            listener.close()
            fault = error
            continue
        listener.listen(512)
        return listener
    raise ServeError(f"{settings.listen}: cannot listen there", hint="choose another port by --listen") from fault
