"""A directory as a registry, for one machine: one JSON file per instance, kept young by its node."""
