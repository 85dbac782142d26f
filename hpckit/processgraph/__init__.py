"""Process graphs of openEO: read, checked, and evaluated on regions of pixels."""
