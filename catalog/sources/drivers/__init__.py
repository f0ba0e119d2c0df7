"""What is particular to each kind of database: a driver a kind."""
