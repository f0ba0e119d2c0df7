"""Where a statement's tokens stand, what its columns are called, and which functions are ours."""
