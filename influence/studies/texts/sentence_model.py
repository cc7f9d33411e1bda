"""Embed texts with a sentence model of the user's own, for the map and the nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from influence.errors import StudyError


class SentenceModel:
    """A model of the library `sentence-transformers`, in a folder on this machine. Nothing is downloaded.

    Args:
        folder: as `SentenceTransformer.save` writes it; weights as safetensors.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (n, d), float32.

        Raises:
            StudyError: there is no such folder, the library is not installed, or it cannot read the model.
        """
        if not self.folder.is_dir():
            raise StudyError(
                f"--sentence-model: {self.folder} is no folder; give the one that holds the model, as "
                "SentenceTransformer.save writes it."
            )
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise StudyError(
                "--sentence-model needs the library sentence-transformers: `pip install sentence-transformers`."
            ) from error
        try:
            model = SentenceTransformer(str(self.folder), local_files_only=True, model_kwargs={"use_safetensors": True})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StudyError(f"--sentence-model: the model in {self.folder} cannot be read: {error}") from error
        return np.asarray(model.encode(list(texts), show_progress_bar=False), dtype=np.float32)
