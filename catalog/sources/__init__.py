"""What is read where it is: databases, table formats, files in object stores, other lakes."""
