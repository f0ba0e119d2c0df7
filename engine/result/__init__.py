"""What a statement gives back."""
