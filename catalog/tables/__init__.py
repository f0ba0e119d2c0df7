"""Tables that are written here: mutable ones in the store, vector ones in Lance."""
