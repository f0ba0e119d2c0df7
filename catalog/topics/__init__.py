"""Topics as the store keeps them: what they are, their log, and their consumers."""
