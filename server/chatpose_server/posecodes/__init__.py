"""One posecode engine: measure a pose, say it, parse words, make statements true."""
