"""Everything offline: from bars in a file to a published release."""
