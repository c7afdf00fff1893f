"""H. Optimizers, and what changes gradients on their way."""
