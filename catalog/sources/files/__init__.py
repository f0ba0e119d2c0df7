"""Files where they are: object stores, external tables, Delta and Iceberg."""
