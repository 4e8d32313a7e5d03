"""Proves the promises from outside: load, comparison, simulation."""
