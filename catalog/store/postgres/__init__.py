"""The store on PostgreSQL: one schema a lake, any number of hosts."""
