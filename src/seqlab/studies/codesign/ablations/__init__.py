"""Ablations: objectives, components, sensitivity, iteration by clustering, numbers of clusters."""
