"""A stage that nobody has, in one folder: nothing of hpckit knows it."""
