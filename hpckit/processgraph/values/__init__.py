"""Processes of numbers, texts, dates and arrays, one value or many pixels at once."""
