"""A run from files of texts: three small files are made up, then read, trained on and scored.

python examples/own_texts.py [DIR]     # files and runs go to DIR, by default a temporary folder

What it does is the command that it prints; this is the same in Python.
"""

import csv
import json
import random
import sys
import tempfile
from pathlib import Path

from influence.precompute import precompute
from influence.studies.own_texts import from_files
from influence.studies.text_files import Columns
from influence.studies.texts import TextOptions

THINGS = {
    "weather": ("rain", "wind", "frost", "sunshine", "snow"),
    "food": ("soup", "bread", "salad", "cheese", "cake"),
    "music": ("song", "waltz", "chorus", "melody", "march"),
}
SAID = {
    "weather": ("there will be {} tomorrow", "the {} comes from the north", 'they call it "{}", up in the hills'),
    "food": ("there is {} on the table", "the {} needs more salt", "she baked, cooked and served {}"),
    "music": ("we heard a {} in the hall", "the {} was too loud", 'the band played "{}", then stopped'),
}


def sentences(count, seed, topics):
    """Made-up (sentence, topic)."""
    draw = random.Random(seed)
    chosen = [draw.choice(topics) for _ in range(count)]
    return [(draw.choice(SAID[topic]).format(draw.choice(THINGS[topic])), topic) for topic in chosen]


def write_files(root):
    """Plain lines to pretrain on, a CSV to finetune on, JSON lines to test with."""
    pretrain, finetune, test = (root / name for name in ("sentences.txt", "topics.csv", "new.jsonl"))
    pretrain.write_text("".join(f"{text}\n" for text, _ in sentences(200, 1, list(THINGS))), encoding="utf-8")
    with finetune.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("sentence", "label"), *sentences(40, 2, ["weather", "food"])])
    lines = [json.dumps({"sentence": text, "label": topic}) for text, topic in sentences(10, 3, ["weather", "food"])]
    test.write_text("\n".join(lines), encoding="utf-8")
    return [pretrain, finetune, test]


def main(root):
    files = write_files(root)
    options = TextOptions(vocabulary=400, context=16)
    study = from_files("texts", files, options, Columns(text="sentence"), sample=150)
    command = ["upstream", "precompute", "--texts", *map(str, files), "--text-column", "sentence", "--sample", "150"]
    command += ["--vocabulary", "400", "--context", "16", "--finetuning", "frozen"]
    print(*command, "--method", "identity", "--runs", root / "runs")
    exhibit = study.exhibit("frozen")
    exhibit.method = "identity"
    print(exhibit.summary, *exhibit.notes)
    run = precompute([exhibit], ["texts-frozen"], root / "runs", progress=False)[0]
    print("Finished:", run.path)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
