"""Table 4: what a layout is worth where the caches are emptied, fitted or scaled."""
