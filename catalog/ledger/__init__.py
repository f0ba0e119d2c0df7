"""The ledger: a signed Merkle tree of what must be answered for, its keys and its proofs."""
