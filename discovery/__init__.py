"""Who is in the fleet: instances, announced and watched through a registry."""
