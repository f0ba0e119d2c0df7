"""Programs for those who work on the tree; no part of what is installed."""
