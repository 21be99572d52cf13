"""Language models with a pose head."""
