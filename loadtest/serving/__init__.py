"""One node alone: what it reaches, what it costs, and how it compares."""
