"""Figure 5: the same layouts in the simulated caches of several devices, and measured here."""
