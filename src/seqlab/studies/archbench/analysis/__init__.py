"""Statistics of the architecture benchmark: one module per question."""
