"""ALTER TABLE: a table that gets other columns, another name, or indexes."""
