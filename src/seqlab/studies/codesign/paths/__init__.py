"""Path dependence: tile pruning and layout in three orders, at equal density and equal quality."""
