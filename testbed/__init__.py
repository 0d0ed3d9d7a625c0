"""Bringing up real things on one bare machine, for tests and benchmarks."""
