"""What carries the news that a topic has a new event; the store's log alone says what it is."""
