"""Work in parallel gives what work one after the other would give."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from optimization.parallel import Advance, Arrays, Task, progress_bar, run_tasks
from predictors.core.errors import InvalidInput, StoreError


def _squared(value: int, seconds: float, *, advance: Advance) -> Arrays:
    time.sleep(seconds)
    advance()
    return {"value": np.array(value * value)}


def _refuse(*, advance: Advance) -> Arrays:
    raise InvalidInput("this history cannot be used")


def test_results_come_in_the_order_of_the_tasks_whichever_is_finished_or_kept_first(tmp_path: Path) -> None:
    tasks = [Task(f"t{value}", 1, partial(_squared, value, 0.5 if value == 1 else 0.0)) for value in (1, 2, 3)]
    run_tasks(tasks[2:], tmp_path, progress_bar(enabled=False))
    results = run_tasks(tasks, tmp_path, progress_bar(enabled=False))
    assert [(name, int(arrays["value"])) for name, arrays in results.items()] == [("t1", 1), ("t2", 4), ("t3", 9)]


def test_a_refusal_in_a_worker_is_the_commands_refusal(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="this history cannot be used"):
        run_tasks([Task("refused", 1, _refuse)], tmp_path, progress_bar(enabled=False))


def test_a_place_that_cannot_be_written_is_found_before_anything_is_computed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file/parts' cannot be written: Not a directory; make room there"):
        run_tasks([Task("refused", 1, _refuse)], tmp_path / "file" / "parts", progress_bar(enabled=False))
