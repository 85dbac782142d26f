"""Compiled statistics along the first axis of an array, for many pixels at once; NaN is null."""
