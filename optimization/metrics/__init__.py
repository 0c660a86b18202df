"""Scores and tests of significance of forecasts, one family a file."""
