"""What keeping a session warm is worth: a script per request, a process that keeps its input open, the node."""
