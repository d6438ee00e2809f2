"""Figures of the architecture benchmark; they draw given numbers and compute no statistic."""
