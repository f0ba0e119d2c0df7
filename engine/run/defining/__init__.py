"""CREATE, ALTER and what else defines tables and sequences, run."""
