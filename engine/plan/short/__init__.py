"""Short ways for plans that are known to end at once."""
