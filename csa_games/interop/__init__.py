"""Trees in and out: OpenSpiel, `.efg` files, networkx."""
