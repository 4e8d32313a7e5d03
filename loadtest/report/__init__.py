"""Pages about runs: one self-contained file each, and two runs side by side."""
