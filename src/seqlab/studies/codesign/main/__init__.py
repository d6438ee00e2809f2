"""Table 1 and what is read off the same runs: Tables 3, 5 and 8, Figure 7a, the summary."""
