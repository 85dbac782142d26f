"""Everything that the doors share: data sets, who may read them, signed links, limits, records."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from hpckit.base.console import Console
from hpckit.base.distribution import pip_install
from hpckit.errors import HpckitError, ServeError
from hpckit.serve.audit import Audit
from hpckit.serve.dataset import Dataset
from hpckit.serve.identity.access import Access, Reader, client_address, require
from hpckit.serve.identity.links import Keys, Links, load_keys, new_keys
from hpckit.serve.identity.passwords import Passwords
from hpckit.serve.limits import Attempts, Buckets, Turns
from hpckit.serve.metrics import Metrics
from hpckit.serve.problems import Problem
from hpckit.serve.settings import Action, Settings

if TYPE_CHECKING:
    from hpckit.serve.identity.oidc import Oidc

_EXTRA: Final = pip_install("serve")
_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?", re.ASCII)
_READER: Final = "hpckit.reader"


@dataclass
class Service:
    """What the doors share."""

    settings: Settings
    datasets: dict[str, Dataset]
    access: Access
    links: Links
    audit: Audit
    buckets: Buckets
    turns: Turns
    metrics: Metrics
    oidc: Oidc | None
    """Logins at providers; None if there are none."""
    state: Path
    """Folder for keys, records and what was drawn."""
    _closing: list[Callable[[], None]] = field(default_factory=list)

    @property
    def overviews(self) -> Path:
        """Folder for overviews of cubes that the server may only read."""
        return self.state / "overviews"

    def reader(self, request: Request) -> Reader:
        """Who a request comes from; see `Access.reader`."""
        scope = request.scope
        if _READER not in scope:
            scope[_READER] = self.access.reader(request)
        found: Reader = scope[_READER]
        return found

    def dataset(self, request: Request, name: str, action: Action) -> Dataset:
        """A data set, if the reader of a request may do this with it.

        Raises
        ------
        Problem
            401 without a login; 404 if there is no such data set, or none that the reader may know of; 403 if they
            may do other things only.
        """
        reader = self.reader(request)
        known = name in self.datasets
        require(self.access.actions(reader, name) if known else frozenset(), reader, action)
        return self.datasets[name]

    def readable(self, request: Request) -> Iterator[Dataset]:
        """Data sets that the reader of a request may know of."""
        reader = self.reader(request)
        return (item for name, item in self.datasets.items() if "info" in self.access.actions(reader, name))

    def may(self, request: Request, name: str, action: Action) -> bool:
        """Whether the reader of a request may do this with a data set or catalogue."""
        return action in self.access.actions(self.reader(request), name)

    def on_close(self, close: Callable[[], None]) -> None:
        """Do something when the server ends."""
        self._closing.append(close)

    def origin(self, request: Request) -> str:
        """Scheme and host by which the client of a request reaches the server.

        Raises
        ------
        Problem
            400 if the header Host is no host's name.
        """
        if self.settings.public_url:
            return self.settings.public_url.rstrip("/")
        host = request.headers.get("host", "")
        if not _HOST.fullmatch(host):
            raise Problem(400, "bad-host", "the header Host cannot be read")
        return f"{request.url.scheme}://{host}"

    def address(self, request: Request) -> str:
        """Address of the server as the client of a request knows it, without a slash at its end."""
        return f"{self.origin(request)}{self.settings.prefix}"

    def note(self, request: Request, what: str, dataset: Dataset, **facts: object) -> None:
        """Write down what was read of a parcel."""
        reader = self.reader(request)
        self.audit.note(reader.name or "anyone", client_address(request), what, dataset=dataset.name, **facts)

    def close(self) -> None:
        """Close files and connections."""
        for close in self._closing:
            close()
        for dataset in self.datasets.values():
            dataset.close()
        if self.oidc is not None:
            self.oidc.close()
        self.audit.close()


def open_service(settings: Settings, console: Console) -> Service:
    """Open data sets, keys and records.

    Raises
    ------
    ServeError
        If the settings make no sense together.
    HpckitError
        If no campaign can be read; one among several that cannot is a warning.
    """
    _require_safe(settings)
    state = _state_folder(settings)
    keys = _keys(settings, state)
    passwords = None if settings.users is None else Passwords(settings.resolve(settings.users))
    limits = settings.limits
    access = Access(keys, settings.grants, passwords, Attempts(limits.password_attempts_per_minute))
    access.asked = tuple(rule.entitlement for rule in settings.openeo.accounts if rule.entitlement is not None)
    oidc = _oidc(settings, keys, access)
    return Service(
        settings=settings,
        datasets=_datasets(settings, state, console),
        access=access,
        links=Links(keys, settings.prefix, settings.link_days),
        audit=Audit(state / "audit.jsonl"),
        buckets=Buckets(limits.requests_per_second, limits.burst),
        turns=Turns(limits.renders, limits.waiting),
        metrics=Metrics(),
        oidc=oidc,
        state=state,
    )


def _require_safe(settings: Settings) -> None:
    if settings.oidc and not settings.grants:
        raise ServeError(
            "without `grants`, everybody whom a provider of logins knows might do everything",
            hint="add `grants` with `entitlements` or `users` to the settings",
        )
    if not settings.is_loopback and not settings.has_logins and not settings.grants:
        raise ServeError(
            f"{settings.listen}: others would reach this address, and nobody has to log in",
            hint="add `users`, `oidc` or `grants` to the settings, or listen on 127.0.0.1",
        )


def _oidc(settings: Settings, keys: Keys, access: Access) -> Oidc | None:
    """Logins at providers, which are asked when somebody logs in, and not before."""
    if not settings.oidc:
        return None
    try:
        from hpckit.serve.identity.oidc import Oidc
        from hpckit.serve.identity.provider import Provider, read_secret
    except ImportError:
        raise ServeError("logins by OpenID Connect need packages that are not installed", hint=_EXTRA) from None
    names = [item.name for item in settings.oidc]
    if len(set(names)) < len(names):
        raise ServeError("two providers of logins have one name", hint="give each a `name` of its own")
    providers = [Provider(item, read_secret(item, settings.resolve)) for item in settings.oidc]
    oidc = Oidc(providers, keys, access.relevant)

    def of_provider(token: str) -> Reader:
        reader = oidc.reader_of(token)
        access.require_member(reader, oidc.providers[reader.name.partition(":")[0]].settings.join)
        return reader

    access.of_provider = of_provider
    return oidc


def _state_folder(settings: Settings) -> Path:
    """Folder of the settings, or one of the user's state folder that belongs to these campaigns."""
    if settings.state is not None:
        folder = settings.resolve(settings.state)
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        served = "\0".join(str(settings.resolve(item.campaign)) for item in settings.datasets)
        folder = base / "hpckit" / "serve" / hashlib.sha256(served.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if settings.state is not None:
            raise ServeError(f"{folder}: the state folder cannot be written") from error
        folder = Path(tempfile.gettempdir()) / f"hpckit-serve-{os.getuid()}-{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
    return folder


def _keys(settings: Settings, state: Path) -> Keys:
    # Without a settings file, links need to work no longer than the server.
    return load_keys(state / "keys.json") if settings.has_logins or settings.state is not None else new_keys()


def _datasets(settings: Settings, state: Path, console: Console) -> dict[str, Dataset]:
    found: dict[str, Dataset] = {}
    faults: list[HpckitError] = []
    for item in settings.datasets:
        path = settings.resolve(item.campaign)
        try:
            dataset = Dataset(item, path, state)
        except HpckitError as error:
            faults.append(error)
            continue
        if dataset.name in found:
            raise ServeError(
                f"{found[dataset.name].path} and {path}: two data sets are called {dataset.name!r}",
                hint="give one of them another `name` in a settings file, for `hpckit serve --config`",
            )
        found[dataset.name] = dataset
    if faults and not found:
        raise faults[0]
    for fault in faults:
        console.warn(f"{fault}; this data set is left out")
    taken = [item.name for item in settings.catalogues]
    for name in taken:
        if name in found or taken.count(name) > 1:
            raise ServeError(f"two data sets or catalogues are called {name!r}", hint="give one another `name`")
    return found
