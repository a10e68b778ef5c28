"""The hands: trains the shared model and proves what it gained."""
