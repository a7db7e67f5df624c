"""Load and measurements; speaks HTTP only and imports nothing of the services."""
