"""The nouns that everybody speaks: who asks, what a table is, what changed, and when."""
