"""Signatures of many zones into files: what is chosen, in which columns, in which format."""
