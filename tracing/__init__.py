"""Where spans go: options, what a span is, and the exporter that gateway and node share."""
