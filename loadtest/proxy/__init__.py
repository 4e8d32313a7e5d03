"""What one proxied request costs: fleetgate beside Envoy, HAProxy, nginx and Traefik, in one run."""
