"""What tables ask of their rows beside types and keys: rows completed, checked, and referred to."""
