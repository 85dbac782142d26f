"""The inner loops. They know numpy and numba, no file and nothing else of hpckit."""
