"""Plans mended once they are made: what is asked of DataFusion on the way, and sums that end."""
