"""Reductions over cubes: parcel signatures."""
