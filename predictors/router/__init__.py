"""The ensemble graph router: fan-out to the members, and their combination."""
