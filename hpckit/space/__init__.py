"""Where: areas, grids of tiles, rasters and their transforms, and vector files."""
