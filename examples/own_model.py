"""A model of one's own in two stages: which pretraining examples is a finetuned prediction made of?"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage, Study, attribute


class Net(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(20, 16), nn.Tanh())
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.body(x))


def loss(outputs, batch):  # one value per example
    return cross_entropy(outputs, batch[1], reduction="none")


def train(model, data, l2):  # yours is probably longer
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.LBFGS(trained, max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        batch = data.tensors
        value = loss(model(batch[0]), batch).mean() + l2 / 2 * sum(p.square().sum() for p in trained)
        value.backward()
        return value

    optimiser.step(closure)


torch.manual_seed(0)
x = torch.randn(700, 20)
y = (x[:, :4] + 0.5 * torch.randn(700, 4)).argmax(1)  # four classes to pretrain on, the first two merged to finetune on
pretraining, finetuning = TensorDataset(x[:500], y[:500]), TensorDataset(x[500:650], y[500:650] // 2)
queries = TensorDataset(x[650:], y[650:] // 2)

pretrained, finetuned = Net(4), Net(2)
train(pretrained, pretraining, l2=0.01)
finetuned.body.load_state_dict(pretrained.body.state_dict())
finetuned.body.requires_grad_(False)
train(finetuned, finetuning, l2=0.01)

study = Study(
    "mine",
    [
        Stage("pretrain", pretrained, loss, pretraining, l2=0.01),
        Stage("finetune", finetuned, loss, finetuning, l2=0.01, frozen=["body.*"]),
    ],
    queries,
)
scores = attribute(study, method="exact")  # (50 queries, 500 pretraining examples), in nats
print(scores.top(query=0, k=5))  # the most helpful pretraining examples: id, score, rank
print(scores.top(query=0, k=5, helpful=False))  # the most harmful
print(scores.report["stages"])  # damping, eigenvalues, residuals
