"""Records, lineage, manifest, verification."""
