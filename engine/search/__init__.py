"""A search: asked, run, ranked, and what it is recorded as."""
