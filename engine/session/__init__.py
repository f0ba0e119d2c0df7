"""The session: the front door."""
