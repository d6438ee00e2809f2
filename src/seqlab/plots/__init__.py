"""One style and a few primitives."""
