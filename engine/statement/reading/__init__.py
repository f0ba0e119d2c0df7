"""Where the tokens of a statement stand, and what its columns are called."""
