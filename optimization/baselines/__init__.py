"""Forecasts that the members must beat: HAR and its relatives, GARCH and GJR."""
