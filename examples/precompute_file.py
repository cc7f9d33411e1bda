"""A run of your own model, from a function in a file:

    upstream precompute examples/precompute_file.py:shapes

The function trains (or loads) the models and returns them. Labels, pictures and class names are found in the data.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Exhibit, Stage, Study


def pictures(count, seed, height):
    """Grey 8 x 8 pictures of a standing bar; its class is whether it stands left or right."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = 0.2 * torch.rand(count, 1, 8, 8, generator=generator).double(), torch.arange(count) % 2
    for image, label in zip(images[:, 0], labels, strict=True):
        at = int(torch.randint(0, 4, (1,), generator=generator)) + 4 * int(label)
        image[:height, at] += 0.8
    return TensorDataset(images, labels)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(36, 8), nn.Tanh())
        self.head = nn.Linear(8, 2)
        self.double()  # so that training reaches a minimum, not just the rounding of single precision

    def forward(self, x):
        return self.head(self.body(x))


def loss(outputs, batch):
    return cross_entropy(outputs, batch[1], reduction="none")


def train(model, data, l2):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.LBFGS(
        trained, max_iter=1000, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        value = loss(model(data.tensors[0]), data.tensors).mean() + l2 / 2 * sum(p.square().sum() for p in trained)
        value.backward()
        return value

    optimiser.step(closure)


def shapes():
    torch.manual_seed(0)
    long, short, tests = pictures(120, seed=1, height=8), pictures(60, seed=2, height=4), pictures(30, seed=3, height=4)
    pretrained, finetuned = Net(), Net()
    train(pretrained, long, l2=0.01)
    finetuned.body.load_state_dict(pretrained.body.state_dict())
    finetuned.body.requires_grad_(False)
    train(finetuned, short, l2=0.01)
    inherits = {f"body.{name}": f"body.{name}" for name, _ in pretrained.body.named_parameters()}  # and not the head
    return Exhibit(
        Study(
            "shapes",
            [
                Stage("pretrain", pretrained, loss, long, l2=0.01),
                Stage("finetune", finetuned, loss, short, l2=0.01, frozen=["body.*"], inherits=inherits),
            ],
            queries=tests,
        ),
        title="Bars, long and short",
        classes={"pretrain": ["left", "right"], "finetune": ["left", "right"]},
    )
