"""One training loop for everyone."""
