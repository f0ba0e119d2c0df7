"""Tables of files, read as they are meant where DataFusion would read them otherwise."""
