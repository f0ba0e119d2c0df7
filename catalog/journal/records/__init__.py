"""The other entries of a ledger (searches, reads, notes) as they are sealed, found and let go."""
