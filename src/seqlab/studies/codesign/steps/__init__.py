"""Steps of the co-design study; each module holds the step of its own name."""
