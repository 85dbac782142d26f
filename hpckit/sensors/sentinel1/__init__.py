"""Sentinel-1: products, calibration, terrain correction and windows."""
