"""From bars to a published release within one time budget: tune, train, compress, gate, publish, report."""
