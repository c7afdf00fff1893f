"""B. Initialization: start values only."""
