"""The STAC door: our own catalogue, cubes and composites, and the catalogues of a federation, as one STAC API."""
