"""A whole ledger checked against its own signatures: nothing in the lake is trusted."""
