"""Figures 1, 4, 7b and that of the bandwidth: one quantity swept, all its levels in every run."""
