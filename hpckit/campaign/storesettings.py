"""The store of a campaign: a file, or a database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from hpckit.base.credentials import check_dsn, find_secret
from hpckit.campaign.model import Model


class StoreSettings(Model):
    """Where results end: a GeoPackage file, or a PostgreSQL database with PostGIS."""

    path: Path | None = None
    """GeoPackage file; the default is `<name>.gpkg` beside the campaign file."""
    dsn: str | None = None
    """`postgresql://user@host/database`; the password comes from ~/.pgpass or PGPASSWORD."""
    db_schema: Annotated[str, Field(alias="schema", pattern=r"^[a-z_][a-z0-9_]{0,50}$")] = "hpckit"
    """Schema of the database."""

    @field_validator("path")
    @classmethod
    def _file(cls, path: Path | None) -> Path | None:
        if path is not None and re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", str(path)):
            raise ValueError("path is a GeoPackage file; a database is given as dsn")
        return path

    @field_validator("dsn")
    @classmethod
    def _sound_dsn(cls, dsn: str | None) -> str | None:
        if dsn is not None:
            check_dsn(dsn)
            if find_secret(dsn) is not None:
                raise ValueError("a password must not stand in the campaign file; put it into ~/.pgpass")
        return dsn

    @model_validator(mode="after")
    def _one_kind(self) -> StoreSettings:
        if self.path is not None and self.dsn is not None:
            raise ValueError("give either path (GeoPackage) or dsn (PostgreSQL), not both")
        return self

    @property
    def is_file(self) -> bool:
        """Whether results end in a file, and not on a server."""
        return self.dsn is None
