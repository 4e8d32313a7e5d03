"""Several worker processes behind one port, with a parent that starts, replaces and speaks for them."""
