"""What is read where it is: databases and lakes by their URLs, files by where they lie."""
