"""Other databases, read where they are."""
