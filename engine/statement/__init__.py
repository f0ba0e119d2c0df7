"""Statements as text: told apart, cut into clauses, put together anew. Pure."""
