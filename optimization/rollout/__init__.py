"""Releases on a cluster: what runs, with which share of the traffic, and how that changes step by step."""
