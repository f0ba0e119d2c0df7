"""What the nodes of a plan say: where columns come from, and which rows are needed."""
