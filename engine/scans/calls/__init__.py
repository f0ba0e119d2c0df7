"""Functions of ours that plans call, row by row."""
