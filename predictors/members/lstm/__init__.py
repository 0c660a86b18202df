"""The `lstm` member."""
