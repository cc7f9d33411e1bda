"""A Hugging Face model of your own: GPT-2, made small, pretrained on sentences and finetuned to tell topics apart.

python examples/hugging_face.py            # which sentences a prediction comes from, in Python
upstream precompute examples/hugging_face.py:study       # a run for the explorer

For a model of your own, give its folder (config, safetensors, tokenizer) in place of the one that `pretrained_in`
fills; the rest holds as it is. Nothing is downloaded, and no pickle is read.
"""

import random
import tempfile

import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    logging,
)

from influence import Exhibit, Stage, Study, attribute

logging.set_verbosity_error()  # that the head is new is what we want
logging.disable_progress_bar()
LENGTH = 16  # tokens of a text that are read
L2 = 1e-2
STEPS = 600
IGNORED = -100  # a label that costs nothing: the loss passes over it
LOCAL = {"local_files_only": True}  # a folder that is not there is an error, not a download
TOPICS = {
    "sea": ("the {} swims below the waves", "a {} lives deep in the water", "the {} was caught near the coast"),
    "wood": ("the {} grows among the trees", "a {} hides under the leaves", "the {} was found near the path"),
    "sky": ("the {} shines above the clouds", "a {} passes high in the night", "the {} was seen near the moon"),
}
NOUNS = {
    "sea": ("shark", "whale", "herring", "crab", "seal", "squid"),
    "wood": ("fern", "badger", "mushroom", "squirrel", "beetle", "moss"),
    "sky": ("star", "comet", "planet", "rocket", "satellite", "meteor"),
}
CLASSES = ["sea", "wood"]  # the two to tell apart; pretraining also sees the third


def sentences(count, seed, topics, mixed=0.0):
    """Made-up (text, topic); `mixed` of them speak of a thing of one topic in the words of another."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        topic = draw.choice(topics)
        other = draw.choice(topics) if draw.random() < mixed else topic
        found.append((draw.choice(TOPICS[other]).format(draw.choice(NOUNS[topic])), topic))
    return found


# The model, as it may lie in a folder of yours


def tokenizer_of(texts):
    """A tokenizer of whole words."""
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]", "[END]"]))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", eos_token="[END]")


def pretrained_in(folder, corpus):
    """Pretrain a small GPT-2 and save it, with its tokenizer, as `transformers` does: safetensors and JSON."""
    tokenizer = tokenizer_of(corpus["text"])
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=LENGTH,
        n_embd=16,
        n_layer=1,
        n_head=2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    train(model, Texts(corpus, tokenizer), next_token_loss)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def refuse_other_tokenizer(tokenizer, model):
    """A token without an embedding fails deep inside the model, or worse, does not; a tokenizer may know fewer."""
    rows, largest = model.get_input_embeddings().num_embeddings, max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise ValueError(
            f"The tokenizer has token ids up to {largest}, the model embeds {rows} tokens (0 to {rows - 1}): they do "
            "not belong together. Load both from one folder, or call model.resize_token_embeddings before training."
        )


# Data, batches and losses


class Texts:
    """Examples as dicts of plain values; `collate` makes tensors of them."""

    def __init__(self, table, tokenizer):
        self.rows = tokenizer(list(table["text"]), truncation=True, max_length=LENGTH)["input_ids"]
        self.labels = [CLASSES.index(label) if label in CLASSES else IGNORED for label in table["label"]]
        self.pad = tokenizer.pad_token_id

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, position):
        return {"ids": self.rows[position], "class": self.labels[position], "pad": self.pad}


def collate(examples):
    """Padded on the right; what is padding is neither attended to (0 in the mask) nor predicted (-100)."""
    longest = max(len(example["ids"]) for example in examples)
    rest = [longest - len(example["ids"]) for example in examples]
    return {
        "input_ids": torch.tensor([e["ids"] + [e["pad"]] * r for e, r in zip(examples, rest, strict=True)]),
        "attention_mask": torch.tensor([[1] * len(e["ids"]) + [0] * r for e, r in zip(examples, rest, strict=True)]),
        "next": torch.tensor([e["ids"] + [IGNORED] * r for e, r in zip(examples, rest, strict=True)]),
        "class": torch.tensor([e["class"] for e in examples]),
    }


def forward(model, batch):
    """The logits. Given no `labels`, the model computes no loss of its own, which would be a mean over the batch."""
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def next_token_loss(logits, batch):
    """(B, T, vocabulary) -> (B,): the sum over an example's tokens; the last position has nothing to predict."""
    each = cross_entropy(logits[:, :-1].transpose(1, 2), batch["next"][:, 1:], ignore_index=IGNORED, reduction="none")
    return each.sum(1)


def class_loss(logits, batch):
    return cross_entropy(logits, batch["class"], reduction="none")


# Training; yours is probably longer


def train(model, data, loss, steps=STEPS):
    """Adam on the whole batch, its step going to zero: scores predict retraining near a minimum."""
    trained = [p for p in model.parameters() if p.requires_grad]
    model.eval()  # influence takes dropout as in evaluation mode; so does this training
    batch = collate([data[i] for i in range(len(data))])
    adam = torch.optim.Adam(trained)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, 0.01, total_steps=steps)
    for _ in range(steps):
        adam.zero_grad()
        value = loss(forward(model, batch), batch).mean() + L2 / 2 * sum(p.square().sum() for p in trained)
        value.backward()
        adam.step()
        rate.step()


# The study


def table_of(found):
    return pd.DataFrame({"id": range(len(found)), "label": [t for _, t in found], "text": [s for s, _ in found]})


def study():
    """Pretrained on sentences of three topics, finetuned (a new head, the rest frozen) to tell two of them apart."""
    corpus = table_of(sentences(300, 1, ["sea", "wood", "sky"], mixed=0.1))
    labelled = table_of(sentences(60, 2, CLASSES))
    tests = table_of(sentences(24, 3, CLASSES, mixed=0.5))
    with tempfile.TemporaryDirectory() as folder:
        pretrained_in(folder, corpus)
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
        language = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, **LOCAL)
        classifier = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=len(CLASSES), use_safetensors=True, **LOCAL
        )
    for model in (language, classifier):
        refuse_other_tokenizer(tokenizer, model)
    for name, parameter in classifier.named_parameters():
        parameter.requires_grad_(name.startswith("score."))
    data, queries = Texts(labelled, tokenizer), Texts(tests, tokenizer)
    train(classifier, data, class_loss)
    how = {"forward": forward, "collate": collate, "l2": L2}
    return Exhibit(
        Study(
            "hugging-face",
            [
                Stage("pretrain", language, next_token_loss, Texts(corpus, tokenizer), **how),
                Stage("finetune", classifier, class_loss, data, frozen=["transformer.*"], **how),
            ],
            queries,
        ),
        title="GPT-2, made small: sea or wood?",
        classes={"pretrain": [], "finetune": CLASSES},  # a language model has no classes
        examples={"pretrain": corpus, "finetune": labelled},
        queries=tests,
        embedding=mean_state,
        method="ekfac",
    )


def mean_state(model, batch):
    """What the map is made of: a vector a text, the mean over its tokens and not over padding."""
    mask = batch["attention_mask"][..., None]
    states = model.transformer(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    return (states * mask).sum(1) / mask.sum(1)


if __name__ == "__main__":
    torch.set_num_threads(1)  # faster, for a model as small as this
    made = study()
    corpus, tests, classifier = made.examples["pretrain"], made.queries, made.study.stages[1].model
    batch = collate([made.study.queries[i] for i in range(len(tests))])
    with torch.no_grad():
        answers, losses = forward(classifier, batch).argmax(1), class_loss(forward(classifier, batch), batch)
    print(f"{(answers == batch['class']).sum()} of {len(tests)} queries are right")
    worst = int(losses.argmax())
    scores = attribute(made.study, method=made.method, progress=False)
    print(f'query: "{tests.text[worst]}" is {tests.label[worst]}, taken for {CLASSES[answers[worst]]}')
    for helpful in (True, False):
        print("most helpful:" if helpful else "most harmful:")
        best = scores.top(query=worst, k=5, helpful=helpful)
        print(best.assign(text=[corpus.text[i] for i in best["id"]]).to_string(index=False))
    for warning in scores.report["warnings"]:
        print("warning:", warning)
