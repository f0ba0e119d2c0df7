"""Lakes whose store lies elsewhere: what their folder says, and how one gets there."""
