"""Collections whose cube is filled on demand: what jobs want of it, what it lacks, and how long it keeps it."""
