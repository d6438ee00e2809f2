"""Hardware counters of a GPU around one arm's products."""
