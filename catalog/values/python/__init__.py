"""Python's own objects: as Arrow's columns, rows and schemas, and made of them. Pure."""
