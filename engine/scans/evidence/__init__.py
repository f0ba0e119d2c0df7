"""Reads on record, and all that anybody did, as tables."""
