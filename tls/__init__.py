"""Certificates: contexts for what listens and for what connects, read again when their files change."""
