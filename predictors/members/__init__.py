"""The members: each folder is one model type with its pure inference and its predictor."""
