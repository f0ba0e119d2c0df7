"""SQL without an engine: names and quotes, tokens, expressions, predicates, and scans of ours."""
