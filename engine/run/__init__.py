"""Statements, run: by kind."""
