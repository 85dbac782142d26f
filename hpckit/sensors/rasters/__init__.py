"""Images of one's own: GeoTIFF files whose names say date and band."""
