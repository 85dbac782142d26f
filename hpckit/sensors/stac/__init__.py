"""Products that STAC items describe, whoever wrote them: GeoTIFF and JPEG 2000 files of Sentinel-2."""
