"""What is done for vector tables in the background."""
