"""Statements that DataFusion 54.1 answers wrongly, or not at all, written so that it does."""
