"""What the catalog says of itself: constraints, and tables as the SQL that makes them."""
