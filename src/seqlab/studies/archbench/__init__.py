"""Nine sequence architectures on three diagnostic tasks."""
