"""openEO API 1.2: collections, processes, and batch jobs that are campaigns."""
