"""Servers that tests and benchmarks start: real ones, and a stand-in for PBS, which no package brings."""
