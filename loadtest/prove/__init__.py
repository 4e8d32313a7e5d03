"""What a fleet under load loses when its parts die, hang, restart or forget: nothing, and here is the table."""
