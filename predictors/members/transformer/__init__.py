"""The `transformer` member."""
