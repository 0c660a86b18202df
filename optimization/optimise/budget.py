"""How the budget is divided.

A part is held back for the stages that cannot be cut: training, compression, the release and the
report cost what the bars ask for. The rest is the studies', by weight. A study is given its part of
what is left for all studies that have not ended, so what one leaves over the next ones have, and what
one takes too long the next ones lack; it is always given `LEAST_S`, and spends a fifth of its part
on the comparison on the outer window. A step of compression that a gate refuses is left out and the
member walked again only while `WALKED_AGAIN` of the budget is not spent; later, the steps before it
are taken as they are. On the two cores that the default is made for, twenty minutes end in less than
twenty-five; a budget below what the fixed stages cost is overrun by them, and by nothing else.
"""

from __future__ import annotations

RESERVE = 0.4
"""Part of the budget that no study is given."""
WEIGHTS = {"features": 1.0, "xgboost": 2.5, "lstm": 3.0, "transformer": 3.5}
"""Of the studies, in their order: the features first, because all members are tuned on them."""
LEAST_S = 5.0
"""With less a study still does one trial, the default."""
WALKED_AGAIN = 0.9
"""Part of the budget after which nothing is walked again."""


def study_s(budget_s: float, spent_s: float, kind: str) -> float:
    """Seconds for the study of a kind when ``spent_s`` of the budget are gone."""
    kinds = list(WEIGHTS)
    open_weight = sum(WEIGHTS[one] for one in kinds[kinds.index(kind) :])
    return max((budget_s * (1.0 - RESERVE) - spent_s) * WEIGHTS[kind] / open_weight, LEAST_S)
