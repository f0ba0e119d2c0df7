"""SQL that is only another way to write something, written as the engine reads it."""
