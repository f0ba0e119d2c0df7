"""Tables that stand in FROM in words that DataFusion does not plan, as calls that it does."""
