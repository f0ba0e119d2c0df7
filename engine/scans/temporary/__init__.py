"""Tables that are one session's alone, in memory."""
