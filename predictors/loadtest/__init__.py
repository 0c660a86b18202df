"""Load with known timing: a fixed rate or a fixed number of connections, every answer checked."""

from predictors.loadtest.generator import run_load
from predictors.loadtest.plan import Plan
from predictors.loadtest.report import Report

__all__ = ["Plan", "Report", "run_load"]
