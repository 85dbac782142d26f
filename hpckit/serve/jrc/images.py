"""Addresses of chips and backgrounds: lists for those who are logged in, files behind signed links."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final, NamedTuple

import shapely
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from hpckit.look.chips import svg_path
from hpckit.serve.answers import bytes_answer, json_answer, number_of, text_of
from hpckit.serve.dataset import Dataset
from hpckit.serve.jrc import background, chips, pages, parcels
from hpckit.serve.jrc.background import Background, View
from hpckit.serve.jrc.chips import Chip, Window
from hpckit.serve.jrc.names import own_band
from hpckit.serve.jrc.questions import (
    chip_datasets,
    chip_size,
    datasets_of,
    period_of,
    pid_of,
    place_of,
    switch,
)
from hpckit.serve.problems import Problem, bad_value, not_found
from hpckit.serve.service import Service
from hpckit.space.vector.project import transformer

LEFT_OUT: Final = "Hpckit-Left-Out"
"""Header: how many chips there are beyond those that are listed."""
_LEVELS: Final = {"CARD-BS": ("VV", "VH"), "CARD-COH6": ("COH_VV", "COH_VH")}
_MOST_PIXELS: Final = 1280
_LARGEST_M: Final = 20_000
_MOST_NAMES: Final = 1000
_ON_PAGE: Final = 128
_FOREVER: Final = {"Cache-Control": "private, max-age=86400"}

Answer = Callable[[Request], Response]


class ImageRoutes(NamedTuple):
    """Addresses by path, or by name below `/query/`."""

    signed: dict[str, Answer]
    """Without a login."""
    asked: dict[str, Answer]
    posted: dict[str, Callable[[Request, dict[str, Any]], Response]]


def image_routes(service: Service) -> ImageRoutes:
    """Addresses of chips and backgrounds."""
    door = _Images(service)
    file = "/{token}/{dataset}/{window}/{file}"
    return ImageRoutes(
        {f"{chips.BASE}{file}": door.chip, f"{background.BASE}{file}": door.background},
        {
            "chipsByLocation": door.chips_by_location,
            "chipsByParcelID": door.chips_by_parcel,
            "rawChipByLocation": door.raw_by_location,
            "rawChipByParcelID": door.raw_by_parcel,
            "backgroundByLocation": door.background_by_location,
            "backgroundByParcelID": door.background_by_parcel,
        },
        {"rawChipsBatch": door.raw_batch, "rawS1ChipsBatch": door.radar_batch},
    )


class _Images:
    """What the addresses answer."""

    def __init__(self, service: Service) -> None:
        self.service = service

    # -- files -------------------------------------------------------------------------------------------------------
    def chip(self, request: Request) -> Response:
        """A chip by its signed link."""
        dataset, window = self._signed(request)
        body, media = chips.file_of(dataset, Window.from_name(window), request.path_params["file"])
        return bytes_answer(request, body, media, headers=_FOREVER)

    def background(self, request: Request) -> Response:
        """A background by its signed link."""
        dataset, window = self._signed(request)
        name, _, form = request.path_params["file"].rpartition(".")
        if form not in ("png", "tif") or not background.NAME.fullmatch(name):
            raise not_found()
        found = self._picture(dataset, View.from_name(window), name)
        if found is None:
            raise not_found()
        body, media = (found.png, "image/png") if form == "png" else (found.tiff, "image/tiff")
        return bytes_answer(request, body, media, headers=_FOREVER)

    def _signed(self, request: Request) -> tuple[Dataset, str]:
        token, name, window = (request.path_params[part] for part in ("token", "dataset", "window"))
        links = self.service.links
        if not links.is_valid(token, f"{name}/{window}") or name not in self.service.datasets:
            if links.is_expired(token):
                raise Problem(410, "link-expired", "the link is not valid any more", hint="ask for a new one")
            raise not_found()
        return self.service.datasets[name], window

    # -- chips -------------------------------------------------------------------------------------------------------
    def raw_by_location(self, request: Request) -> Response:
        """GeoTIFFs around a place."""
        return self._raw(request, chip_datasets(self.service, request), place_of(request.query_params))

    def raw_by_parcel(self, request: Request) -> Response:
        """GeoTIFFs around the middle of a parcel."""
        datasets, place = self._middle(request)
        return json_answer(request, {}) if place is None else self._raw(request, datasets, place)

    def _raw(self, request: Request, datasets: list[Dataset], place: tuple[float, float]) -> Response:
        band, days = own_band(text_of(request, "band")), period_of(request)
        window = Window(*_rounded(place), chip_size(request.query_params))
        _level(request)
        found = self._shown(datasets, window, band, days)
        if found is None:
            return json_answer(request, {})
        dataset, listed = found
        self.service.note(request, "chips", dataset, window=window.name, band=band)
        if switch(request, "onlylist"):
            return json_answer(request, {"chips": [chip.product for chip in listed]})
        return self._listed(request, dataset, window, listed, [band])

    def _shown(
        self, datasets: list[Dataset], window: Window, band: str, days: tuple[date, date]
    ) -> tuple[Dataset, list[Chip]] | None:
        """The first data set that has the place in the period, with its products."""
        for dataset in datasets:
            place = chips.place_of(dataset, window, band)
            found = [] if place is None else chips.chips_of(place, *days)
            if found:
                return dataset, found
        return None

    def _listed(
        self, request: Request, dataset: Dataset, window: Window, found: list[Chip], bands: list[str]
    ) -> Response:
        most = max(1, chips.MOST // len(bands))
        answer = json_answer(request, chips.listed(self.service.links, dataset, window, found[:most], bands))
        if len(found) > most:
            answer.headers[LEFT_OUT] = str((len(found) - most) * len(bands))
        return answer

    def raw_batch(self, request: Request, body: dict[str, Any]) -> Response:
        """GeoTIFFs of named products and bands."""
        _require_keys(body, ("lon", "lat", "tiles", "bands"), ("chipsize",))
        names, texts = _texts(body, "tiles", _MOST_NAMES), _texts(body, "bands", chips.MOST)
        bands = list(dict.fromkeys(own_band(text) for text in texts))
        window = Window(*_rounded(place_of(body)), chip_size(body))
        for dataset in chip_datasets(self.service, request):
            places = [chips.place_of(dataset, window, band) for band in bands]
            found = [] if places[0] is None or None in places else chips.named_chips(places[0], names)
            if found:
                self.service.note(request, "chips", dataset, window=window.name, band="_".join(bands))
                return self._listed(request, dataset, window, found, bands)
        return json_answer(request, {})

    def radar_batch(self, request: Request, body: dict[str, Any]) -> Response:
        """GeoTIFFs of both polarisations of a period."""
        _require_keys(body, ("lon", "lat", "dates"), ("chipsize", "plevel"))
        level = str(body.get("plevel", "CARD-BS"))
        if level not in _LEVELS:
            raise bad_value("plevel", f"there is {', '.join(_LEVELS)}")
        days = _two_days(_texts(body, "dates", 2))
        window = Window(*_rounded(place_of(body)), chip_size(body))
        for dataset in chip_datasets(self.service, request):
            bands = [band for band in _LEVELS[level] if chips.place_of(dataset, window, band) is not None]
            found = self._shown([dataset], window, bands[0], days) if bands else None
            if found is not None:
                self.service.note(request, "chips", dataset, window=window.name, band="_".join(bands))
                return self._listed(request, dataset, window, found[1], bands)
        return json_answer(request, {})

    def chips_by_location(self, request: Request) -> Response:
        """A page with pictures around a place."""
        return self._page(request, chip_datasets(self.service, request), place_of(request.query_params))

    def chips_by_parcel(self, request: Request) -> Response:
        """A page with pictures around the middle of a parcel."""
        datasets, place = self._middle(request)
        return json_answer(request, {}) if place is None else self._page(request, datasets, place)

    def _page(self, request: Request, datasets: list[Dataset], place: tuple[float, float]) -> Response:
        texts = text_of(request, "bands", request.query_params.get("band", "B08_B04_B03")).split("_")
        bands = [own_band(text) for text in texts]
        if len(bands) not in (1, 3):
            raise bad_value("bands", "are one band or three, such as B08_B04_B03")
        lut, days = text_of(request, "lut", "5_95") or "5_95", period_of(request)
        chips.stretch_of(lut)
        _level(request)
        window = Window(*_rounded(place), chip_size(request.query_params))
        found = self._shown(datasets, window, bands[0], days)
        if found is None:
            return json_answer(request, {})
        dataset, listed = found
        self.service.note(request, "chips", dataset, window=window.name, band="_".join(bands))
        base = chips.link_to(self.service.links, dataset, window, "")
        name = "_".join(bands)
        shown = [(chip.stamp, f"{base}{chip.product}.{name}.{lut}.png") for chip in listed[: chips.MOST]]
        title = f"{name} around {place[0]:.5f}, {place[1]:.5f}"
        more = f", the first {chips.MOST} of {len(listed)}" if len(listed) > chips.MOST else ""
        return HTMLResponse(
            pages.chips_page(f"{title}{more}", shown, _ON_PAGE), headers={"Cache-Control": "no-store"}
        )

    # -- backgrounds -------------------------------------------------------------------------------------------------
    def background_by_location(self, request: Request) -> Response:
        """A picture around a place."""
        lon, lat = _rounded(place_of(request.query_params))
        view = _view(request, lon, lat)
        held = [item for item in chip_datasets(self.service, request) if background.covers(item, view)]
        return self._background(request, held, view, "")

    def background_by_parcel(self, request: Request) -> Response:
        """A picture around the middle of a parcel, with its outline if that is asked for."""
        datasets, place = self._middle(request)
        if place is None:
            return json_answer(request, {})
        view, outline = _view(request, *place), ""
        if switch(request, "withGeometry"):
            (dataset,) = datasets_of(self.service, request, "geometry")[:1]
            zones = dataset.edition.zones()
            shape = zones.in_degrees(zones.row(pid_of(request)))
            outline = _drawn(shape, view, self._crs(datasets, view))
        return self._background(request, datasets, view, outline)

    def _background(self, request: Request, datasets: list[Dataset], view: View, outline: str) -> Response:
        tms, form = text_of(request, "tms", "Google").lower(), text_of(request, "iformat", "png").lower()
        if not background.NAME.fullmatch(tms):
            raise bad_value("tms", "has letters, digits, '_' and '-' only")
        if form not in ("png", "tif"):
            raise bad_value("iformat", "is png or tif")
        for dataset in datasets:
            found = self._picture(dataset, view, tms)
            if found is None:
                continue
            self.service.note(request, "background", dataset, window=view.name)
            link = self.service.links.to(f"{dataset.name}/{view.name}", f"{tms}.{form}", background.BASE)
            if form == "tif" or switch(request, "raw"):
                # The client fetches the body as an address.
                return PlainTextResponse(
                    f"{self.service.origin(request)}{link}", headers={"Cache-Control": "no-store"}
                )
            title = f"{tms}, {view.lon:.5f}, {view.lat:.5f}"
            page = pages.picture_page(title, link, view.pixels, outline)
            return HTMLResponse(page, headers={"Cache-Control": "no-store"})
        return json_answer(request, {})

    def _picture(self, dataset: Dataset, view: View, tms: str) -> Background | None:
        """Of the orthophoto of this name, of any that is there, or of the cube."""
        settings = self.service.settings
        names = [name for name in settings.orthophotos if name.lower() == tms] or list(settings.orthophotos)
        for name in names:
            found = background.of_orthophoto(settings.resolve(settings.orthophotos[name]), view)
            if found is not None:
                return found
        return background.of_cube(dataset, view) if dataset.campaign.cube.keep else None

    def _crs(self, datasets: list[Dataset], view: View) -> tuple[int, Any]:
        for dataset in datasets:
            found = self._picture(dataset, view, "")
            if found is not None:
                return found.epsg, found.transform
        return 3857, view.transform(3857)

    def _middle(self, request: Request) -> tuple[list[Dataset], tuple[float, float] | None]:
        """Data sets of an area and year, and the middle of a parcel; None if there is no such parcel."""
        datasets = datasets_of(self.service, request, "chips")
        zones = datasets[0].edition.zones()
        row = parcels.find(zones, pid_of(request))
        if row is None:
            return datasets, None
        columns = parcels.describe(zones, [row], geometry=False, wgs84=False)
        return datasets, _rounded((columns["clon"][0], columns["clat"][0]))


def _view(request: Request, lon: float, lat: float) -> View:
    pixels = number_of(request, "chipsize", 256, 16, 1e6)
    size_m = number_of(request, "extend", 256, 10, _LARGEST_M)
    return View(lon, lat, int(min(pixels, _MOST_PIXELS)), int(size_m))


def _drawn(shape: shapely.Geometry, view: View, place: tuple[int, Any]) -> str:
    epsg, transform = place
    there = transformer(4326, epsg)
    return svg_path(shapely.transform(shape, there.transform, interleaved=False), transform)


def _rounded(place: tuple[float, float]) -> tuple[float, float]:
    """As addresses have it: to 10 cm."""
    return round(place[0], 6) + 0.0, round(place[1], 6) + 0.0


def _level(request: Request) -> None:
    if text_of(request, "plevel", "LEVEL2A").upper() not in ("LEVEL2A", "LEVEL1C"):
        raise bad_value("plevel", "there is LEVEL2A and LEVEL1C")


def _require_keys(body: Mapping[str, Any], required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    for name in body:
        if name not in required and name not in optional:
            raise bad_value(str(name)[:50], f"is not known; there is {', '.join((*required, *optional))}")
    for name in required:
        if name not in body:
            raise bad_value(name, "is missing")


def _texts(body: Mapping[str, Any], name: str, most: int) -> list[str]:
    values = body[name]
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise bad_value(name, "is no list of texts")
    if len(values) > most:
        raise bad_value(name, f"has more than {most} texts")
    return values


def _two_days(texts: list[str]) -> tuple[date, date]:
    try:
        first, last = (date.fromisoformat(text) for text in texts)
    except ValueError:
        raise bad_value("dates", "are the first and the last day, such as 2024-05-03") from None
    if first > last:
        raise bad_value("dates", "begin after they end")
    return first, last
