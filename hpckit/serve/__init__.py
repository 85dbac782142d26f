"""Results over HTTP: a viewer, a STAC API and JRC's REST, switched on in one file."""
