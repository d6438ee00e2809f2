"""Figures of the architecture benchmark; no test is made in them."""
