"""Where code of users runs here: settings of a graph, of a job, or of the site that this machine belongs to."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from hpckit.base.apptainer import find_program
from hpckit.errors import SiteError
from hpckit.sites.site import find_site, identify_site
from hpckit.sites.udf import UDF_SETTINGS, Udf, UdfRuntime


def settings_here(own: Udf | None = None) -> Udf | None:
    """The settings that hold here; None if there are none.

    Parameters
    ----------
    own : Udf, optional
        Of a campaign; comes first.

    Raises
    ------
    SiteError
        If those of the job cannot be read.
    """
    if own is not None:
        return own
    text = os.environ.get(UDF_SETTINGS)
    if text:
        try:
            return Udf.model_validate_json(text)
        except ValueError as error:
            raise SiteError(f"{UDF_SETTINGS} does not fit this version of hpckit") from error
    return _of_site()


@cache
def _of_site() -> Udf | None:
    name = identify_site()
    return None if name is None else find_site(name).udf


def runtimes(settings: Udf | None) -> dict[str, Any]:
    """What openEO calls UDF runtimes; none where code of users cannot run."""
    if settings is None or not is_offered(settings):
        return {}
    return {name: _described(name, runtime) for name, runtime in settings.runtimes.items()}


def _described(name: str, runtime: UdfRuntime) -> dict[str, Any]:
    version = runtime.version or "1"
    libraries = {library: {"version": number} for library, number in runtime.libraries.items()}
    title = runtime.title or f"{name} in {Path(runtime.image).name}"
    return {"title": title, "type": "language", "default": version, "versions": {version: {"libraries": libraries}}}


def is_offered(settings: Udf | None) -> bool:
    """Whether code of users can run: there is an image, and Apptainer."""
    return settings is not None and bool(settings.runtimes or settings.images) and find_program() is not None
