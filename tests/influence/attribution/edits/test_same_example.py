"""An example that stands in two stages, as in a replay buffer: what it is worth is the sum of its two scores.

Sun, Mu, Hua, "Regularizing Second-Order Influences for Continual Learning", CVPR 2023, choose such buffers.
"""

from __future__ import annotations

import numpy as np
import torch
from minima import Net, data, loss, minimise_chain
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute, edit_scores, edits
from influence.training import Retrainer

OPTIONS = {"method": "exact", "curvature": "hessian", "progress": False}
BUFFER = 6
"""The first examples of the first stage stand at the end of the last, too."""


def test_scores_of_both_stages_add_up_to_what_training_without_it_gives():
    g = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    old, new = data(40, 3, 3, g), data(24, 3, 3, g)
    last = TensorDataset(*(torch.cat([a, b[:BUFFER]]) for a, b in zip(new.tensors, old.tensors, strict=True)))
    stages = [
        Stage("first", Net(3, width=2), loss, old, l2=0.1),
        Stage("second", Net(3, width=2), loss, last, l2=0.1, proximity=0.3),
    ]
    study = Study("continual", minimise_chain(stages), data(8, 3, 3, g))
    both = [[edits.leave_out("first", [row]), edits.leave_out("second", [24 + row])] for row in range(BUFFER)]
    predicted = edit_scores(study, both, **OPTIONS).values
    once, again = (attribute(study, stage=name, **OPTIONS).values for name in ("first", "second"))
    np.testing.assert_allclose(predicted, once[:, :BUFFER] + again[:, 24:], rtol=1e-4, atol=1e-8)

    retrainer = Retrainer(study)
    base = retrainer.retrain().losses
    measured = np.stack([retrainer.retrain(edits=each).losses - base for each in both], axis=1)
    assert np.corrcoef(predicted.ravel(), measured.ravel())[0, 1] > 0.98
    alone = np.corrcoef(once[:, :BUFFER].ravel(), measured.ravel())[0, 1]
    assert alone < np.corrcoef(predicted.ravel(), measured.ravel())[0, 1], "either stage alone tells less"
