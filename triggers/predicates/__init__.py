"""SQL predicates over the rows of an event."""
