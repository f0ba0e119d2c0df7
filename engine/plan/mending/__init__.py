"""What is asked of DataFusion while a statement is written otherwise: columns of its queries."""
