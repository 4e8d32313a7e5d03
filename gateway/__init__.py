"""Accepts requests at one public endpoint and spreads them over the fleet."""
