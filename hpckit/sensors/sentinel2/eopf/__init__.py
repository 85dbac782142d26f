"""Products of Sentinel-2 as Zarr hierarchies of the Earth Observation Processor Framework (EOPF) of ESA."""
