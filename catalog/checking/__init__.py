"""A tenant's data against its ledger: rows, definitions, topics and files; what differs first."""
