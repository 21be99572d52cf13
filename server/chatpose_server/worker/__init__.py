"""Where the models run: in a process of their own, which may be killed and does not take the server with it."""
