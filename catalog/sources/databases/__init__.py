"""Databases that are attached: what all kinds have in common."""
