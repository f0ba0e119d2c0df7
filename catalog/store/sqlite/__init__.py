"""The store on SQLite: one file in the lake's folder, WAL, any number of processes."""
