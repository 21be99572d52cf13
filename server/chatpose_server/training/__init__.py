"""Training: data, losses and loops. Each command is ``chatpose-server train NAME``."""
