"""Rules and their votes on a run of one's own function, which the explorer was started to trust, in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from influence.precompute.runs import precompute
from influence.studies.from_file import from_file

STUDY = """
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage, Study, Votes
from influence.studies.exhibit import Exhibit


def study():
    x = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    given = Votes(torch.stack([x[:, 0] > 0, x[:, 1] > 0], 1).long(), 2, ["left <b>", "up"])
    def loss(outputs, batch):
        return cross_entropy(outputs, batch[1], reduction="none")
    data = TensorDataset(x, torch.tensor(given.labels))
    stage = Stage("keywords", nn.Linear(3, 2).double(), loss, data, l2=0.1)
    last = Stage("finetune", nn.Linear(3, 2).double(), loss, TensorDataset(x, (x[:, 0] > 0).long()), proximity=0.1)
    return Exhibit(
        Study("voted", [stage, last], TensorDataset(x[:8], (x[:8, 0] > 0).long())),
        examples={"keywords": table(given.labels.argmax(1))}, votes={"keywords": given}, train=True,
    )


def table(labels):
    import pandas as pd
    return pd.DataFrame({"id": range(len(labels)), "label": [str(label) for label in labels]})
"""


@pytest.fixture(scope="module")
def trusting(serve, tmp_path_factory):
    """Where an explorer serves a run of a function that it was started to trust."""
    folder = tmp_path_factory.mktemp("voted")
    file = folder / "voted.py"
    file.write_text(STUDY)
    exhibit = from_file(f"{file}:study", asked={"study": f"{file}:study"}, method="exact")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("influence.precompute.steps.map_of", lambda v, o, seed: (v[:, :2], o[:, :2], "two coordinates"))
        precompute([exhibit], ["voted"], folder / "runs", progress=False)
    with serve(folder / "runs", "--study", f"{file}:study") as address:
        yield address


def test_a_rule_is_switched_off_and_a_vote_taken_back(watched, trusting):
    page = watched.page
    page.goto(f"{trusting}/suspects?repair=Votes&of=Keywords&slice=all")
    page.get_by_role("button", name="Put the first into the basket").click(timeout=120_000)
    page.get_by_role("button", name="Put the first 10 into the basket").click()
    expect(page.get_by_text("switched off", exact=False).first).to_be_visible()
    expect(page.get_by_text("11 in the basket", exact=False)).to_be_visible(timeout=60_000)
    page.goto(f"{trusting}/item?of=Keywords&example=3&what_if=true")
    bar = page.get_by_role("button", name="up:", exact=False)
    bar.click(timeout=60_000)
    expect(page.get_by_text("Trained without the vote of “up”")).to_be_visible(timeout=60_000)
    assert watched.errors == []
    assert watched.left == []
