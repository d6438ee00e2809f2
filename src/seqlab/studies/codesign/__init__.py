"""Memory layout and model changes: whether optimising them together pays."""
