"""Runs the gateway's real decisions under a simulated clock: what if the policy, the load or the fleet were other."""
