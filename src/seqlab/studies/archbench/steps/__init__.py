"""Steps of the study."""
