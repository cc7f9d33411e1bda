"""A small transformer that classifies texts, pretrained and finetuned with an adapter; dict batches, own collate.

upstream precompute examples/text_transformer.py:texts
python examples/text_transformer.py        # scores in Python, without a run
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from influence import Stage, Study, attribute

WORDS = ("the", "was", "is", "very", "good", "fine", "bright", "bad", "awful", "dull", "film", "food")
LENGTH = 6


def sentences(count, seed, noun):
    """Opinions of a film or of food, as dicts with the text and its class; one in ten has the wrong class."""
    generator = torch.Generator().manual_seed(seed)
    examples = []
    for _ in range(count):
        adverb, adjective, wrong = (int(torch.randint(n, (1,), generator=generator)) for n in (2, 6, 10))
        word = ("good", "fine", "bright", "bad", "awful", "dull")[adjective]
        text = f"the {noun} was {'very ' if adverb else ''}{word}"
        examples.append({"text": text, "label": int(adjective < 3) ^ int(wrong == 0)})
    return examples


def collate(examples):
    """Texts are made numbers here, so that the data still holds the texts that a run shows."""
    rows = [[WORDS.index(word) + 1 for word in example["text"].split()] for example in examples]
    return {
        "tokens": torch.tensor([row + [0] * (LENGTH - len(row)) for row in rows]),
        "label": torch.tensor([example["label"] for example in examples]),
    }


class Reader(nn.Module):
    def __init__(self, adapter=False):
        super().__init__()
        self.embed = nn.Embedding(len(WORDS) + 1, 8)
        self.place = nn.Parameter(0.1 * torch.randn(LENGTH, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=True)
        self.adapter = nn.Sequential(nn.Linear(8, 2), nn.Tanh(), nn.Linear(2, 8)) if adapter else None
        self.head = nn.Linear(8, 2)

    def forward(self, tokens):
        states = self.block(self.embed(tokens) + self.place)
        states = states + self.adapter(states) if self.adapter is not None else states
        return self.head(states.mean(1))


def forward(model, batch):
    return model(batch["tokens"])


def loss(outputs, batch):
    return cross_entropy(outputs, batch["label"], reduction="none")


def train(model, data, l2, steps=150):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser, batch = torch.optim.Adam(trained, lr=0.01), collate(data)
    model.eval()  # influence takes dropout as in evaluation mode; so does this training
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss(forward(model, batch), batch).mean() + l2 / 2 * sum(p.square().sum() for p in trained)
        value.backward()
        optimiser.step()


def texts():
    torch.manual_seed(0)
    films, food, tests = sentences(80, 1, "film"), sentences(40, 2, "food"), sentences(10, 3, "food")
    pretrained, finetuned = Reader(), Reader(adapter=True)
    train(pretrained, films, l2=0.01)
    finetuned.load_state_dict(pretrained.state_dict(), strict=False)
    for name, parameter in finetuned.named_parameters():
        parameter.requires_grad_(name.startswith("adapter."))
    train(finetuned, food, l2=0.01)
    everything_else = ["embed.*", "place", "block.*", "head.*"]
    return Study(
        "opinions",
        [
            Stage("films", pretrained, loss, films, forward=forward, collate=collate, l2=0.01),
            Stage("food", finetuned, loss, food, forward=forward, collate=collate, l2=0.01, frozen=everything_else),
        ],
        queries=tests,
    )


if __name__ == "__main__":
    study = texts()
    scores = attribute(study, method="exact", progress=False)
    print("query:", study.queries[0]["text"])
    for helpful in (True, False):
        best = scores.top(query=0, k=3, helpful=helpful)
        print(best.assign(text=[study.stages[0].data[i]["text"] for i in best["id"]]).to_string(index=False))
    for warning in scores.report["warnings"]:
        print("warning:", warning)
