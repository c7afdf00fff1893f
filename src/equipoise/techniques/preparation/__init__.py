"""A. Data preparation: fitted on the training split only, saved with the model."""
