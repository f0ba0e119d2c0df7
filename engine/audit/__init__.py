"""Every search on record before its rows are released."""
