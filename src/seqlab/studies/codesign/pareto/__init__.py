"""Figure 6 and Table 7: latency against quality over sparsities, by order of pruning and layout."""
