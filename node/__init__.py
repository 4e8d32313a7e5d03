"""One inference container: an HTTP face around one warm session."""
