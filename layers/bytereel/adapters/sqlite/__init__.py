"""Jobs and queues in one SQLite file."""
