"""Rows put in by their keys: inserted, or changed where the key is there."""
