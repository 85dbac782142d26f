"""Files by signed links: shards, GeoTIFFs and tables of data sets, with Range, ETag and HEAD."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from hpckit.reduce.composites.units import files_path, zarr_path
from hpckit.serve.dataset import Dataset
from hpckit.serve.problems import Problem, not_found
from hpckit.serve.service import Service
from hpckit.serve.settings import CatalogueSettings

_TYPES: Final = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".csv": "text/csv",
    ".json": "application/json",
    ".nc": "application/netcdf",
    ".geojson": "application/geo+json",
    ".png": "image/png",
    ".vrt": "application/xml",
    ".parquet": "application/vnd.apache.parquet",
    ".gpkg": "application/geopackage+sqlite3",
}
_PRIVATE: Final = frozenset({".lock", ".tmp", ".partial"})


def routes(service: Service) -> Sequence[BaseRoute]:
    """The address of all signed links."""

    def signed(request: Request) -> Response:
        token, root, path = (request.path_params[name] for name in ("token", "root", "path"))
        dataset, kind = request.path_params["dataset"], root
        name = f"{dataset}/{kind}"
        if not service.links.is_valid(token, name):
            if service.links.is_expired(token):
                raise Problem(410, "link-expired", "the link is not valid any more", hint="get a new one")
            raise not_found()
        if dataset in service.datasets:
            return send_file(request, folder_of(service.datasets[dataset], kind), path)
        folders = {item.name: catalogue_folders(service, item) for item in service.settings.catalogues}
        if kind not in folders.get(dataset, {}):
            raise not_found()
        return send_file(request, folders[dataset][kind], path)

    address = "/a/{token}/{dataset}/{root}/{path:path}"
    return [Route(address, signed, methods=["GET"], name="signed")]


def folder_of(dataset: Dataset, root: str) -> Path:
    """Folder of a root: `cube`, `composite-NAME` (Zarr), `files-NAME` (of a composite), or `products-N`.

    Raises
    ------
    Problem
        404 if the data set has none.
    """
    campaign = dataset.campaign
    if root == "cube" and campaign.cube.keep:
        return campaign.cube_path
    for composite in campaign.composites:
        if root == f"composite-{composite.name}":
            return zarr_path(campaign, composite)
        if root == f"files-{composite.name}":
            return files_path(campaign, composite)
    products = product_folders(dataset)
    if root not in products:
        raise not_found()
    return products[root]


def product_folders(dataset: Dataset) -> dict[str, Path]:
    """Folders with the products of a campaign, by the names of their roots."""
    campaign = dataset.campaign
    folders = [campaign.resolve(Path(str(path))) for path in campaign.scenes.paths if "://" not in str(path)]
    return {f"products-{number}": folder for number, folder in enumerate(folders)}


def catalogue_folders(service: Service, catalogue: CatalogueSettings) -> dict[str, Path]:
    """Folders with the products of a catalogue, by the names of their roots."""
    folders = map(service.settings.resolve, catalogue.folders)
    return {f"products-{number}": folder for number, folder in enumerate(folders)}


def send_file(request: Request, folder: Path, path: str) -> Response:
    """Answer with a file below a folder, whole or in part.

    Raises
    ------
    Problem
        404 if there is no such file, or it lies elsewhere.
    """
    place, status = _within(folder, path)
    tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=60", "Access-Control-Allow-Origin": "*"}
    headers["Access-Control-Expose-Headers"] = "Content-Range, Content-Length, ETag, Accept-Ranges"
    if _is_known(request.headers, tag):
        return Response(status_code=304, headers=headers)
    media = _TYPES.get(place.suffix, "application/octet-stream")
    return FileResponse(place, headers=headers, media_type=media, stat_result=status)


def _within(folder: Path, path: str) -> tuple[Path, os.stat_result]:
    parts = path.split("/")
    if "\0" in path or "\\" in path or any(part in ("", ".", "..") or _is_private(part) for part in parts):
        raise not_found()
    place = folder.joinpath(*parts)
    try:
        inside = place.resolve(strict=True).is_relative_to(folder.resolve(strict=True))
        status = place.stat()
    except (OSError, RuntimeError):
        raise not_found() from None
    if not inside or not stat.S_ISREG(status.st_mode):
        raise not_found()
    return place, status


def _is_private(part: str) -> bool:
    return part.startswith(".") or part == "manifest" or os.path.splitext(part)[1] in _PRIVATE  # noqa: PTH122


def _is_known(headers: Headers, tag: str) -> bool:
    tags = headers.get("if-none-match", "")
    return tags.strip() == "*" or tag in [each.strip().removeprefix("W/") for each in tags.split(",")]
