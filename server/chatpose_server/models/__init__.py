"""What weights exist, where they come from, their licence and SHA-256, and the user's cache of them."""
