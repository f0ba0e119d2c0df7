"""What callers give a session to be called by its statements: functions."""
