"""A Hugging Face model of your own: GPT-2, made small, pretrained on sentences and finetuned to tell topics apart.

python examples/hugging_face.py            # which sentences a prediction comes from, in Python
upstream precompute examples/hugging_face.py:study       # a run for the explorer
upstream precompute --models FOLDER/pretrained FOLDER/finetuned --texts ...    # the same without any code

Of a model of yours you need `study` alone, with your folders and data. Nothing is downloaded, and no pickle is read.
"""

import random
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    logging,
)

from influence import attribute
from influence.huggingface import exhibit, stage

logging.set_verbosity_error()  # that the head is new is what we want
logging.disable_progress_bar()
L2 = 1e-2
STEPS = 600
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


def study():
    """From two folders and three sets of data to what the explorer shows; a stage takes a `datasets.Dataset`, too."""
    corpus, labelled = sentences(300, 1, list(TOPICS), mixed=0.1), sentences(60, 2, CLASSES)
    tests = sentences(24, 3, CLASSES, mixed=0.5)
    with tempfile.TemporaryDirectory() as folder:
        before, after = train_and_save(Path(folder), corpus, labelled)
        tokenizer = AutoTokenizer.from_pretrained(after, **LOCAL)
        language = AutoModelForCausalLM.from_pretrained(before, use_safetensors=True, **LOCAL)
        classifier = AutoModelForSequenceClassification.from_pretrained(after, use_safetensors=True, **LOCAL)
    pretrain = stage("pretrain", language, corpus, tokenizer, l2=L2)
    finetune = stage("finetune", classifier, labelled, tokenizer, after=pretrain, l2=L2)
    return exhibit("hugging-face", [pretrain, finetune], tests, title="GPT-2, made small: sea or wood?", method="ekfac")


# Two folders, as a training of yours leaves them


def sentences(count, seed, topics, mixed=0.0):
    """Made-up texts with their topic; `mixed` of them speak of a thing of one topic in the words of another."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        topic = draw.choice(topics)
        other = draw.choice(topics) if draw.random() < mixed else topic
        found.append({"text": draw.choice(TOPICS[other]).format(draw.choice(NOUNS[topic])), "label": topic})
    return found


def train_and_save(folder, corpus, labelled):
    """Train a small GPT-2 on the corpus, and a new head, the rest frozen, on the labelled texts."""
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[END]"]
    words.train_from_iterator([row["text"] for row in corpus], trainers.WordLevelTrainer(special_tokens=special))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", eos_token="[END]", model_max_length=16
    )
    size = {"vocab_size": len(tokenizer), "n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(pad_token_id=0, bos_token_id=2, eos_token_id=2, **size))
    batch = tokenizer([row["text"] for row in corpus], padding=True, return_tensors="pt")
    train(model, {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)})
    tokenizer.save_pretrained(folder / "pretrained")
    model.save_pretrained(folder / "pretrained")
    names = {"num_labels": len(CLASSES), "id2label": dict(enumerate(CLASSES))}
    model = AutoModelForSequenceClassification.from_pretrained(folder / "pretrained", **names, **LOCAL)
    model.transformer.requires_grad_(False)
    batch = tokenizer([row["text"] for row in labelled], padding=True, return_tensors="pt")
    train(model, {**batch, "labels": torch.tensor([CLASSES.index(row["label"]) for row in labelled])})
    tokenizer.save_pretrained(folder / "finetuned")
    model.save_pretrained(folder / "finetuned")
    return folder / "pretrained", folder / "finetuned"


def train(model, batch):
    """Adam on the whole batch, its step going to zero: scores predict retraining near a minimum."""
    trained = [p for p in model.parameters() if p.requires_grad]
    model.eval()  # influence takes dropout as in evaluation mode; so does this training
    # A text's loss is the sum over its tokens, where the model's own is the mean over those of the batch.
    tokens = (batch["labels"][:, 1:] != -100).sum() / len(batch["labels"]) if batch["labels"].dim() > 1 else 1
    adam = torch.optim.Adam(trained)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, 0.01, total_steps=STEPS)
    for _ in range(STEPS):
        adam.zero_grad()
        (tokens * model(**batch).loss + L2 / 2 * sum(p.square().sum() for p in trained)).backward()
        adam.step()
        rate.step()


if __name__ == "__main__":
    torch.set_num_threads(1)  # faster, for a model as small as this
    shown = study()
    corpus, tests, finetune = shown.examples["pretrain"], shown.queries, shown.study.stages[1]
    batch = finetune.collate([shown.study.queries[i] for i in range(len(tests))])
    with torch.no_grad():
        logits = finetune.forward(finetune.model, batch)
        answers, losses = logits.argmax(1), finetune.loss(logits, batch)
    print(f"{(answers == batch['labels']).sum()} of {len(tests)} queries are right")
    worst = int(losses.argmax())
    scores = attribute(shown.study, method=shown.method, progress=False)
    print(f'query: "{tests.text[worst]}" is {tests.label[worst]}, taken for {CLASSES[answers[worst]]}')
    for helpful in (True, False):
        print("most helpful:" if helpful else "most harmful:")
        best = scores.top(query=worst, k=5, helpful=helpful)
        print(best.assign(text=[corpus.text[i] for i in best["id"]]).to_string(index=False))
    for warning in scores.report["warnings"]:
        print("warning:", warning)
