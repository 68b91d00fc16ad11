"""Networks over observations and actions."""
