"""Looking at results: series of zones, pictures of the cube, reports of runs."""
