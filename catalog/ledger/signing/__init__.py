"""The heads of a ledger: what the end of a transaction signs, and what is kept of it."""
