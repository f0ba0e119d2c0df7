"""A tour of affidavit over the standard library's docstrings: ``python -m demo``."""
