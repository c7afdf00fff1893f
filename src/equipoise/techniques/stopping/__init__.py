"""I. When to stop."""
