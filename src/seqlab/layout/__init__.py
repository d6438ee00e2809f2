"""Memory layouts: permutations, affinities, objectives, solvers."""
