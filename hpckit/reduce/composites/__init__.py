"""Composites: reductions of each pixel over time, from the cube to GeoTIFFs and their STAC collection."""
