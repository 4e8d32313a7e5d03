"""Consul as a registry: what a gateway watches, what a node announces."""
