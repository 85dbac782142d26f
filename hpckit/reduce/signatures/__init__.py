"""Signatures: statistics of zones over time."""
