"""A folder's own tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from influence.errors import StudyError, printable
from influence.studies.checkpoints.reading.saved import package, quiet, read_json, refusing

FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
CONFIG = "tokenizer_config.json"


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer's vocabulary."""
    return any((folder / name).exists() for name in FILES)


def read_tokenizer(folder: Path, model: nn.Module) -> Any:
    """The fast tokenizer of a folder.

    Raises:
        StudyError: there is none, it is slow or has code of its own, or it knows tokens that the model does not embed.
    """
    if not folder.is_dir() or not has_tokenizer(folder):
        raise StudyError(
            f"{printable(folder)} holds no tokenizer (tokenizer.json). Save the one that the model was trained with "
            "there: `tokenizer.save_pretrained(...)`."
        )
    if (folder / CONFIG).exists() and "auto_map" in read_json(folder / CONFIG):
        raise StudyError(f"{printable(folder / CONFIG)} names code of its own (`auto_map`), which is not run.")
    transformers = package("transformers", f"The tokenizer in {printable(folder)}")
    with refusing(folder), quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise StudyError(
            f"{printable(folder)}: {type(tokenizer).__name__} has no fast version, which says where in a text a token "
            "stands. Convert it (`transformers.convert_slow_tokenizer`) and save tokenizer.json."
        )
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    rows, largest = embedding.weight.shape[0], max(tokenizer.get_vocab().values(), default=-1)
    if largest >= rows:
        raise StudyError(
            f"The tokenizer in {printable(folder)} has token ids up to {largest}, the model embeds {rows} tokens (0 to "
            f"{rows - 1}): they do not belong together. Give the tokenizer that it was trained with."
        )
    return tokenizer
