"""What a cluster can suffer while jobs run on it, and that every job's state is still true."""
