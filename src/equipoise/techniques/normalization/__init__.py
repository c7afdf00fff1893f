"""C. Normalization: after the affine map, before the activation."""
