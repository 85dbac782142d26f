"""Markers: events that rules find in the series of zones."""
