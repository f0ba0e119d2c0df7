"""What a DML statement writes after its plan has run, and whether that is still right then."""
