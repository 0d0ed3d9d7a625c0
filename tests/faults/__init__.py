"""Faults done to the real processes: one at a time, each with its rule, and nights of all kinds with an audit."""
