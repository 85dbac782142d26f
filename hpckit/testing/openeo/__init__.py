"""The official tests of openEO's processes: read, run and compared; a runner for openeo-test-suite."""
