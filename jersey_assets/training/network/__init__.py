"""The networks, their losses, their weights."""
