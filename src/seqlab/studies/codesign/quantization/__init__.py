"""Figure 2: whether the order of quantising and permuting matters, for quality or for speed."""
