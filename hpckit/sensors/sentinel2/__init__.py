"""Sentinel-2: products, metadata and granules."""
