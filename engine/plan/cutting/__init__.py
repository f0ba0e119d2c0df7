"""Sub-trees of a plan cut out of it, where a database answers them as DataFusion would."""
