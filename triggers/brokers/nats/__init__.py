"""How the news, and the events themselves, go through a NATS server."""
