"""The operators' listener: one page, the same truth as JSON and as metrics, and a few careful actions."""
