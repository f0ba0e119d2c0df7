"""Databases: what is particular to each kind, and what is not."""
