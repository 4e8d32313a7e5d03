"""How many Locust users there are over time, one shape per file: `locust -f loadtest/shapes/spike.py -u 50 -t 5m …`."""
