"""What a table held at a moment, and what happened to it between two."""
