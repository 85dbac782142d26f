"""Helpers for tests and demonstrations: products and parcels made to measure."""
