"""Model definitions, loading and saving, transformations."""
