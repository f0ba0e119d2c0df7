"""What runs: sessions, SQL statements, searches, hooks and results."""
