"""DataFusion, as one tenant uses it."""
