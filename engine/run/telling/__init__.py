"""What is told of a statement without running it: a description, or its plan."""
