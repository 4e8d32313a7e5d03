"""The protocols that a node speaks: each turns a call into rows, and the rows' outputs into its own kind of answer."""
