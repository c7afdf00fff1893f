"""I. Averaging weights and models."""
