"""The whole pipeline walked forward over a history, and an honest report of how good it was."""
