"""Sub-trees of a plan that one database answers: what they are, and their SQL."""
