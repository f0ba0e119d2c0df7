"""Other doors to a session: the command line and notebooks."""
