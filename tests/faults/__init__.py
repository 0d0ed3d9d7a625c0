"""One fault at a time, done to the real processes; and what must be true after it."""
