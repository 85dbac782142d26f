"""The REST interface of JRC's Checks-by-Monitoring backend: `/query/…`."""
