"""The `xgboost` member."""
