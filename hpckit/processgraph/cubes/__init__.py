"""Processes of data cubes, by what they do."""
