"""What covered tables hold, summed up where it is written, so that a signed head states it."""
