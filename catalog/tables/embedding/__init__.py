"""Vectors that a table's model makes of its rows' texts: as they are written, and all anew."""
