"""What the HTML reports are made of."""
