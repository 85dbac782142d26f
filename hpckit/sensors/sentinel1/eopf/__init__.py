"""GRD products of Sentinel-1 as Zarr hierarchies of the Earth Observation Processor Framework (EOPF) of ESA."""
