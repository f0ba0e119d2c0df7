"""The door for coroutines: a session whose verbs are awaited, and whose calls threads make."""
