"""stac-api-validator without a network: schemas of STAC come from pystac; run it by their interpreter."""

from __future__ import annotations

import sys

import stac_schemas_offline  # noqa: F401  (it lies beside this script)
from stac_api_validator.__main__ import main

sys.exit(main())
