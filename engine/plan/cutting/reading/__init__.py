"""What the nodes of a plan are to a database, as relations of our own."""
