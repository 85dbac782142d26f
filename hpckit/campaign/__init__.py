"""The campaign file and its parts."""
