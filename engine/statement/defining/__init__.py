"""Definitions of tables, columns and sequences, cut into what they say. Pure."""
