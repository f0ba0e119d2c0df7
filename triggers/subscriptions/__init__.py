"""Who reads a topic, and how far they have come."""
