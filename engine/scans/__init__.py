"""What DataFusion asks of us: every table that a statement can name, at one snapshot."""
