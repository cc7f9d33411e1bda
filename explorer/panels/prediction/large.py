"""A training example, large."""

from __future__ import annotations

import pandas as pd

from explorer.panels.prediction import prediction
from explorer.runs import completions
from explorer.ui import escape, pictures


def html(example: pd.Series) -> str:
    """The example, large, as HTML with everything from data escaped."""
    url, text = pictures.data_url(example), pictures.text(example)
    alt = escape.for_html(f"Training example {example['id']}, label {example['label']}")
    shown = f'<img class="up-item up-large" src="{url}" alt="{alt}">' if url else ""
    if text is not None:
        title = pictures.words(example, "title")
        said = prediction.text_html(text, None, completions.prompt_end(example))
        head = f'<h3 class="up-head" dir="auto">{escape.for_html(title)}</h3>' if title else ""
        shown += f'<div class="up-text">{head}<p dir="auto">{said}</p></div>'
    return f'<div class="up-prediction">{shown}</div>'
