"""The Lance datasets of an open lake: versions, files, and what may be read of them."""
