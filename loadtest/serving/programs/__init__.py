"""The same model behind each server, written as that server's own documentation advises."""
