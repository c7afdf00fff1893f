"""G. Objectives and targets."""
