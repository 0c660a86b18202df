"""Its predictor: ``python -m predictors.members.xgboost --model-dir DIR``."""

from __future__ import annotations

from predictors.members.xgboost.model import KIND, READS
from predictors.serving.member import serve_member

if __name__ == "__main__":
    serve_member(KIND, READS)
