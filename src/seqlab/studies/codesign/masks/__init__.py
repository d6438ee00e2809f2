"""Masks learned on the task (HDS) against masks of magnitudes, on a trained language model."""
