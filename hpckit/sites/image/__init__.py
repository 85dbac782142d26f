"""Apptainer images in which job arrays run: definition, build, test, information, push."""
