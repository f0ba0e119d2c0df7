"""Few plain rows of mutable tables, written as they stand: without Arrow, and else as all are."""
