"""Statistics: one implementation of each method."""
