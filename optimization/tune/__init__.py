"""Studies: which settings of a member, or of the features, forecast best before a point in time."""
