"""What is done for a plan's searches before the plan runs."""
