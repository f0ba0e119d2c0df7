"""Files of the web: which may be read, how they are asked for, and what is kept of them."""
