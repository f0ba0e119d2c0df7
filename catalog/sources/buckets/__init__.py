"""Object stores: which there are, and how a bucket is reached."""
