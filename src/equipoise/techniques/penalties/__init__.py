"""E. Penalties and constraints, on affine weights only."""
