"""What is wrong with the environment in which hpckit runs, and what to do about it."""
