"""SQL without an engine: names, tokens, expressions, predicates, and scans of tables of ours."""
