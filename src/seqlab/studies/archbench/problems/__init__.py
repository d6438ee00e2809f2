"""The tasks as problems: what is drawn, who solves it, how answers are scored."""
