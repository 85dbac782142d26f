"""Zarr v3 cubes on the grid of the Sentinel-2 granules."""
