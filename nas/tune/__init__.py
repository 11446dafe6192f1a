"""The only room that knows Ray: clusters, and trials on them."""
