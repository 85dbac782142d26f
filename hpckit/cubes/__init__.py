"""Zarr v3 cubes, on the tiles of the products or on squares of a grid."""
