"""Texts whose labels come from rules: keywords vote for a topic, and the average of their votes is the label.

    upstream precompute examples/voted_texts.py:study
    upstream explore voted-texts --study examples/voted_texts.py:study

A linear model of words is trained on the votes, then finetuned on a few definitions with known topics. In the explorer,
*Suspects*, *Repair: Votes* lists the rules and votes that harm; *What if* on an example takes a vote back.
"""

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from influence import Stage, Study, Votes
from influence.studies.exhibit import Exhibit
from influence.studies.shipped import shipped_file

TOPICS = ["noun.animal", "noun.food", "noun.person", "noun.plant"]
RULES = {
    "person who": "noun.person", "someone": "noun.person", "one who": "noun.person", "member": "noun.person",
    "plant": "noun.plant", "tree": "noun.plant", "shrub": "noun.plant", "flowers": "noun.plant",
    "animal": "noun.animal", "fish": "noun.animal", "bird": "noun.animal", "insect": "noun.animal",
    "small": "noun.animal",
    "food": "noun.food", "dish": "noun.food", "cooked": "noun.food", "made": "noun.food", "fruit": "noun.food",
}  # fmt: skip
VOTED, KNOWN, QUERIES, WORDS = 600, 60, 200, 300


def loss(outputs, batch):
    return cross_entropy(outputs, batch[1], reduction="none")


def votes_on(texts):
    """(texts, rules), the topic that each rule votes for, -1 where it abstains."""
    return np.array([[TOPICS.index(topic) if rule in text else -1 for rule, topic in RULES.items()] for text in texts])


def study():
    definitions = pd.read_parquet(shipped_file("definitions/definitions.parquet"))
    definitions = definitions[definitions["label"].isin(TOPICS)].sample(frac=1, random_state=0, ignore_index=True)
    known, queries, rest = (
        definitions[a:b] for a, b in ((0, KNOWN), (KNOWN, KNOWN + QUERIES), (KNOWN + QUERIES, None))
    )
    table = votes_on(rest["text"])
    voted = np.flatnonzero((table >= 0).any(1))[:VOTED]  # where all rules abstain there is no label
    rest, votes = rest.iloc[voted], Votes(table[voted], len(TOPICS), list(RULES))
    words = pd.Series(" ".join(rest["text"]).split()).value_counts().index[:WORDS]

    def bags(texts):
        return torch.tensor([[word in text.split() for word in words] for text in texts], dtype=torch.float64)

    def numbers(table):
        return torch.tensor([TOPICS.index(label) for label in table["label"]])

    def shown(table, labels):
        return pd.DataFrame({"id": table.index, "label": labels, "title": table["word"], "text": table["text"]})

    stages = [
        Stage(
            "keywords",
            nn.Linear(WORDS, len(TOPICS)).double(),
            loss,
            TensorDataset(bags(rest["text"]), torch.tensor(votes.labels)),
            l2=0.002,
        ),
        Stage(
            "finetune",
            nn.Linear(WORDS, len(TOPICS)).double(),
            loss,
            TensorDataset(bags(known["text"]), numbers(known)),
            proximity=0.01,
        ),
    ]
    return Exhibit(
        Study("voted-texts", stages, TensorDataset(bags(queries["text"]), numbers(queries))),
        title="Definitions, labelled by rules",
        summary="Keywords vote for a topic. A linear model learns from their votes, then from 60 known topics.",
        classes=dict.fromkeys(("keywords", "finetune"), TOPICS),
        examples={
            "keywords": shown(rest, [TOPICS[number] for number in votes.labels.argmax(1)]),
            "finetune": shown(known, known["label"]),
        },
        queries=shown(queries, queries["label"]),
        votes={"keywords": votes},
        train=True,
    )
