"""Makes `definitions.parquet` of a table of WordNet's glosses (columns label, word, gloss).

    python data/definitions/prepare.py wordnet_glosses.parquet

Takes the definition out of every gloss, without the sentences that show its use; leaves out those of fewer than three
words, and every one that stands nearly word for word in an earlier one (`influence.studies.texts.duplicates`), so
that no split can have a text in common with another.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from influence.studies.texts.definitions import TOPICS
from influence.studies.texts.duplicates import repeated

HERE = Path(__file__).parent
COUNT = 27_750
"""Definitions to draw; near-duplicates among them are then left out."""
SHORTEST = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("glosses", type=Path)
    table = pd.read_parquet(parser.parse_args().glosses)
    table["text"] = table["gloss"].str.split('; "', regex=False).str[0].str.strip()
    table["row"] = np.arange(len(table))
    table = table[table["text"].str.split().str.len() >= SHORTEST].drop_duplicates("text")
    drawn = table.sample(COUNT, random_state=0).sort_values("row")
    kept = drawn[~repeated(drawn["text"].tolist())]
    out = pd.DataFrame(
        {
            "id": kept["row"].astype("int32"),
            "label": kept["label"],
            "word": kept["word"].str.replace("_", " "),
            "text": kept["text"],
        }
    )
    out.to_parquet(HERE / "definitions.parquet", index=False, compression="zstd", compression_level=19)
    print(f"{len(out):,} definitions; {len(drawn) - len(kept):,} near-duplicates left out; topics to finetune on:")
    print(out["label"].value_counts()[list(TOPICS)].to_string())


if __name__ == "__main__":
    main()
