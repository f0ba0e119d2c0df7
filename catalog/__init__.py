"""What can be named and kept: the lake, its store, vector tables and mutable tables."""
