"""The whole system, and single faults, on real engines."""
