"""A result is computed once for each run, told by its checksum, and for each choice of the other arguments."""

from __future__ import annotations

from explorer.runs.cache import per_run
from influence import Run


def test_result_is_shared_until_the_run_is_another(small_root):
    calls = []

    @per_run(max_entries=4)
    def number(run, stage):
        calls.append((run.name, stage))
        return object()

    first, other = Run.open(small_root / "small"), Run.open(small_root / "small-other")
    assert number(first, "pretrain") is number(Run.open(small_root / "small"), "pretrain")
    assert number(first, "finetune") is not number(first, "pretrain")
    assert number(other, "pretrain") is not number(first, "pretrain")
    assert calls == [("small", "pretrain"), ("small", "finetune"), ("small-other", "pretrain")]
