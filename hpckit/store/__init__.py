"""Where results end: GeoPackage or PostgreSQL/PostGIS."""
