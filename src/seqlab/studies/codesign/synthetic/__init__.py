"""Figure 3: whether a better layout of a community graph hits a cache more often."""
