"""Smaller and faster members: one technique a module, and the gates that each result must pass."""
