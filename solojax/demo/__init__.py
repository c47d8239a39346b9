"""A page to try a run with: an image dropped on it is answered with what the network finds."""
