"""Many layouts of one function: whether modularity, hit rate and latency go together, and how."""
