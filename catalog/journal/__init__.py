"""The journal: every mutation as an event, its blocks and its sealed segments."""
