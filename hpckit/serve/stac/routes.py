"""Addresses of the STAC API, below `/stac`."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from hpckit.errors import CatalogueError, HpckitError
from hpckit.serve.files import catalogue_folders
from hpckit.serve.problems import Problem, busy, not_found
from hpckit.serve.service import Service
from hpckit.serve.stac import pages, tokens
from hpckit.serve.stac.answering import (
    dedup_of,
    for_all_sites,
    json_response,
    members_told,
    next_by_get,
    warnings_of,
)
from hpckit.serve.stac.broker import Answer, Broker
from hpckit.serve.stac.conditions import check
from hpckit.serve.stac.merging import Dedup
from hpckit.serve.stac.openapi import document
from hpckit.serve.stac.own import OwnCatalogue, Shelf
from hpckit.serve.stac.products import catalogue, products
from hpckit.serve.stac.query import Search, SearchError, of_body, of_parameters
from hpckit.serve.stac.results import results
from hpckit.serve.stac.sources import Source

_LOG: Final = logging.getLogger("hpckit.serve")
_DEFAULT_PAGE: Final = "/stac"


def routes(service: Service) -> Sequence[BaseRoute]:
    """The STAC door."""
    door = StacDoor(service)
    service.on_close(door.close)
    addresses: list[tuple[str, Callable[[Request], Response]]] = [
        ("", door.landing),
        ("/conformance", door.conformance),
        ("/api", door.description),
        ("/api.html", door.handbook),
        ("/queryables", door.queryables),
        ("/collections", door.collections),
        ("/collections/{collection}", door.collection),
        ("/collections/{collection}/queryables", door.collection_queryables),
        ("/collections/{collection}/items", door.items),
        ("/collections/{collection}/items/{item:path}", door.item),
        ("/search", door.search),
    ]
    found: list[BaseRoute] = []
    for path, answer in addresses:
        methods = ["GET", "OPTIONS"]
        found.append(Route(f"{_DEFAULT_PAGE}{path}", for_all_sites(answer), methods=methods))
    found.append(Route(f"{_DEFAULT_PAGE}/", for_all_sites(door.landing), methods=["GET", "OPTIONS"]))
    found.append(Route(f"{_DEFAULT_PAGE}/search", door.posted, methods=["POST"]))
    return found


class StacDoor:
    """Answers of the STAC API.

    Parameters
    ----------
    service : Service
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._own = OwnCatalogue(self._sources, service.state / "stac")
        self._broker = Broker(self._own, service.settings.members, service.settings.merged)

    def close(self) -> None:
        """End connections and work on indexes."""
        self._broker.close()
        self._own.close()

    def landing(self, request: Request) -> Response:
        """The landing page."""
        at = self._addresses(request)
        listed: list[Mapping[str, Any]] = [
            {"id": shelf.id, "title": shelf.source.title} for shelf in self._shelves(request)
        ]
        listed += [{"id": name} for name in self._broker.merged]
        return json_response(pages.landing(at, self._service.settings.title, listed))

    def conformance(self, request: Request) -> Response:
        """Classes of requirements that hold."""
        return json_response({"conformsTo": list(pages.CONFORMS_TO)})

    def description(self, request: Request) -> Response:
        """OpenAPI document."""
        at = self._addresses(request)
        return json_response(document(self._service.settings.title, at.root), media_type=pages.OPENAPI)

    def handbook(self, request: Request) -> Response:
        """A page for people."""
        title, root = html.escape(self._service.settings.title), html.escape(self._addresses(request).root)
        return HTMLResponse(
            f"<!doctype html><html lang='en'><title>{title}: STAC API</title><h1>{title}: STAC API</h1>"
            f"<p>Open <code>{root}</code> in a STAC client: pystac-client, the STAC plugin of QGIS, STAC Browser."
            f" <a href='{root}/api'>OpenAPI document</a></p></html>"
        )

    def queryables(self, request: Request) -> Response:
        """What conditions may name in all collections."""
        at, names = self._addresses(request), dict[str, str]()
        for shelf in self._shelves(request):
            names |= shelf.table.names
        address = f"{at.root}/queryables"
        return json_response(pages.queryables(address, "Properties of items", names), media_type=pages.SCHEMA)

    def collections(self, request: Request) -> Response:
        """All collections: our own, merged ones, and those of members."""
        at = self._addresses(request)
        found = [pages.own_collection(at, shelf) for shelf in self._shelves(request)]
        members, reports = self._broker.collections()
        shown = {name: (remote.id, content) for name, (remote, content) in members.items()}
        found += [self._merged(at, name, shown) for name in self._broker.merged]
        found += [pages.member_collection(at, name, member, one) for name, (member, one) in shown.items()]
        here = f"{at.root}/collections"
        links = [
            {"rel": "self", "href": here, "type": pages.JSON},
            {"rel": "root", "href": at.root, "type": pages.JSON},
        ]
        answer = {"collections": found, "links": links, "numberMatched": len(found), "numberReturned": len(found)}
        return json_response(answer | members_told(reports), headers=warnings_of(reports))

    def collection(self, request: Request) -> Response:
        """A collection."""
        at, name = self._addresses(request), request.path_params["collection"]
        shelf = self._shelf(request, name)
        if shelf is not None:
            return json_response(pages.own_collection(at, shelf))
        if not self._broker.targets(name):
            raise not_found(f"there is no collection {name[:100]!r}")
        return json_response(self._of_members(at, name))

    def collection_queryables(self, request: Request) -> Response:
        """What conditions may name in a collection."""
        at, name = self._addresses(request), request.path_params["collection"]
        shelf = self._shelf(request, name)
        if shelf is None and not self._broker.targets(name):
            raise not_found(f"there is no collection {name[:100]!r}")
        names = {} if shelf is None else shelf.table.names
        address = f"{at.collection(name)}/queryables"
        return json_response(pages.queryables(address, f"Properties of {name}", names), media_type=pages.SCHEMA)

    def items(self, request: Request) -> Response:
        """Items of a collection."""
        at, name = self._addresses(request), request.path_params["collection"]
        if self._shelf(request, name) is None and not self._broker.targets(name):
            raise not_found(f"there is no collection {name[:100]!r}")
        parameters = {**request.query_params, "collections": ""}
        search = _within(of_parameters(parameters), name)
        answer = self._searched(request, search, dedup_of(parameters.get("dedup"), search))
        here = f"{at.collection(name)}/items"
        own = [{"rel": "collection", "href": at.collection(name), "type": pages.JSON}]
        own.append({"rel": "parent", "href": at.collection(name), "type": pages.JSON})
        return self._page(request, at, search, answer, next_by_get(request, here), own)

    def item(self, request: Request) -> Response:
        """An item."""
        at, name, wanted = self._addresses(request), request.path_params["collection"], request.path_params["item"]
        shelf = self._shelf(request, name)
        if shelf is not None:
            found = shelf.table.find(Search(ids=(wanted,)), None, None, 1)
            for item in shelf.table.read(found.rows):
                return json_response(pages.item_answer(at, item, shelf.source.dataset), media_type=pages.GEOJSON)
        elif self._broker.targets(name):
            try:
                item_of_member = self._broker.item(name, wanted)
            except CatalogueError as error:
                raise Problem(502, "member-failed", error.message) from None
            if item_of_member is not None:
                return json_response(pages.item_answer(at, item_of_member, None), media_type=pages.GEOJSON)
        raise not_found(f"there is no item {wanted[:100]!r}")

    def search(self, request: Request) -> Response:
        """Items that fit, by parameters of the address."""
        at, parameters = self._addresses(request), dict(request.query_params)
        search = of_parameters(parameters)
        answer = self._searched(request, search, dedup_of(parameters.get("dedup"), search))
        return self._page(request, at, search, answer, next_by_get(request, f"{at.root}/search"))

    async def posted(self, request: Request) -> Response:
        """Items that fit, by a body."""
        content = await request.body()
        return await for_all_sites(partial(self._search_posted, content))(request)

    def _search_posted(self, content: bytes, request: Request) -> Response:
        try:
            body = orjson.loads(content or b"{}")
        except ValueError:
            raise SearchError("the body is no JSON") from None
        if not isinstance(body, dict):
            raise SearchError("the body is no JSON object")
        at, search = self._addresses(request), of_body(body)
        dedup = dedup_of(body.get("dedup"), search)
        answer = self._searched(request, search, dedup, strict=body.get("strict") is True)

        def link(token: str) -> dict[str, Any]:
            more = {"method": "POST", "body": {**body, "token": token}, "merge": False}
            return {"href": f"{at.root}/search", **more}

        return self._page(request, at, search, answer, link)

    def _searched(self, request: Request, search: Search, dedup: Dedup, *, strict: bool = False) -> Answer:
        if search.filter is not None:
            check(search.filter)
        shelves = [
            shelf for shelf in self._shelves(request) if search.collections is None or shelf.id in search.collections
        ]
        for source in self._own.unready():
            wanted = search.collections is None or source.collection in search.collections
            if wanted and self._service.may(request, source.dataset, "info"):
                raise busy("the index of a collection is being made; try again soon")
        cursor = tokens.read(self._service.links.keys, search)
        answer = self._broker.search(search, shelves, cursor, dedup)
        strict = strict or request.query_params.get("strict") == "true"
        if strict and any(report.error for report in answer.members):
            faults = "; ".join(f"{report.id}: {report.error}" for report in answer.members if report.error)
            raise Problem(502, "member-failed", faults[:500], hint="without `strict` the others answer")
        return answer

    def _page(
        self,
        request: Request,
        at: pages.Addresses,
        search: Search,
        answer: Answer,
        link: Callable[[str], dict[str, Any]],
        more: Sequence[dict[str, Any]] = (),
    ) -> Response:
        """A page of items."""
        datasets = {shelf.id: shelf.source.dataset for shelf in self._shelves(request)}
        features = [
            pages.chosen(pages.item_answer(at, item, datasets.get(item["collection"])), search)
            for item in answer.items
        ]
        here = f"{self._service.origin(request)}{request.url.path}"
        query = f"?{request.url.query}" if request.url.query else ""
        links = [
            {"rel": "self", "href": f"{here}{query}", "type": pages.GEOJSON},
            {"rel": "root", "href": at.root, "type": pages.JSON},
            *more,
        ]
        if answer.next is not None:
            token = tokens.write(self._service.links.keys, search, answer.next)
            links.append({"rel": "next", "type": pages.GEOJSON, "method": "GET", **link(token)})
        page: dict[str, Any] = {"type": "FeatureCollection", "features": features, "links": links}
        page |= {
            "numberReturned": len(features),
            **({} if answer.matched is None else {"numberMatched": answer.matched}),
        }
        return json_response(
            page | members_told(answer.members), media_type=pages.GEOJSON, headers=warnings_of(answer.members)
        )

    def _sources(self) -> Iterator[Source]:
        for dataset in self._service.datasets.values():
            try:
                found = products(dataset, dataset.edition)
                sources = [*([] if found is None else [found]), *results(dataset)]
            except HpckitError as error:  # takes none of the others away
                _LOG.warning("%s is left out of the STAC API: %s", dataset.name, error)
                continue
            yield from sources
        settings = self._service.settings
        for one in settings.catalogues:
            folders = catalogue_folders(self._service, one)
            yield catalogue(one.name, one.title or one.name, settings.resolve(one.path), folders)

    def _shelves(self, request: Request) -> list[Shelf]:
        """Our own collections that the reader of a request may know of."""
        return [shelf for shelf in self._own.shelves() if self._service.may(request, shelf.source.dataset, "info")]

    def _shelf(self, request: Request, name: str) -> Shelf | None:
        return next((shelf for shelf in self._shelves(request) if shelf.id == name), None)

    def _addresses(self, request: Request) -> pages.Addresses:
        """Addresses for the reader of a request.

        Raises
        ------
        Problem
            401 if nothing may be read without a login.
        """
        service = self._service
        if not service.reader(request).is_signed_in and not service.settings.is_open:
            headers = {"WWW-Authenticate": 'Basic realm="hpckit"'}
            raise Problem(401, "login-needed", "log in first", headers=headers)
        origin = service.origin(request)

        def link(dataset: str, root: str, path: str) -> str | None:
            allowed = service.may(request, dataset, "export")
            return f"{origin}{service.links.to(f'{dataset}/{root}', path)}" if allowed else None

        root = f"{origin}{service.settings.prefix}"

        def api(dataset: str) -> str | None:
            is_there = "viewer" in service.settings.doors and dataset in service.datasets
            return f"{root}/api/d/{quote(dataset)}" if is_there else None

        return pages.Addresses(f"{root}{_DEFAULT_PAGE}", link, api)

    def _of_members(self, at: pages.Addresses, name: str) -> dict[str, Any]:
        shown: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for remote, theirs in self._broker.targets(name):
            try:
                content = remote.ask().collection(theirs)
            except CatalogueError as error:
                remote.failed(error)
                if name not in self._broker.merged:
                    raise Problem(502, "member-failed", f"{remote.id}: {error.message}") from None
                continue
            if content is not None:
                ours = next(
                    one
                    for one in self._broker.merged.get(name, (name,))
                    if one.partition("|")[0] == remote.id and remote.own_name(one.partition("|")[2]) == theirs
                )
                shown[ours] = remote.id, content
        if name in self._broker.merged:
            return self._merged(at, name, shown)
        if name not in shown:
            raise not_found(f"there is no collection {name[:100]!r}")
        member, told = shown[name]
        return pages.member_collection(at, name, member, told)

    def _merged(
        self, at: pages.Addresses, name: str, shown: Mapping[str, tuple[str, Mapping[str, Any]]]
    ) -> dict[str, Any]:
        parts = [(member, one) for part in self._broker.merged[name] for member, one in [shown.get(part, ("", {}))]]
        known: list[Mapping[str, Any]] = [one for member, one in parts if member]
        first: Mapping[str, Any] = known[0] if known else {"id": name}
        members = ", ".join(part.partition("|")[0] for part in self._broker.merged[name])
        content = {**first, "extent": pages.joined_extent(known) if known else None}
        title = f"{first.get('title') or name} ({members})"
        return pages.member_collection(at, name, members, content, title=title)


def _within(search: Search, collection: str) -> Search:
    from dataclasses import replace

    return replace(search, collections=(collection,))
