"""Vector files as they really are: layers, identifiers, CRSs and geometries, and how shapes change their CRS."""
