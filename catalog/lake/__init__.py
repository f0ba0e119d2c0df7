"""A lake: its folders, its datasets, and what one identity sees of it."""
