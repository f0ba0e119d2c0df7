"""External tables: files that DataFusion reads, Delta and Iceberg tables that a library does."""
