"""A language model of word pairs, and a classifier on top of it: how much each word speaks for each common word.

The log-odds of a common word are a sum over the words beside it, as of the trigger pairs of Rosenfeld (1996, "A maximum
entropy approach to adaptive statistical language modeling"). They are linear in the parameters, so that the loss is
convex: with an l2 term there is one minimum, training reaches it, and leaving texts out moves it as a derivative says.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, log_softmax

from influence.studies.language import emphasis
from influence.studies.texts.models import TextModels
from influence.studies.texts.options import TextOptions
from influence.studies.texts.tokenizing import FIRST_WORD, padded

RARE = 2e-4
"""Words of a smaller share of all tokens are read as if it were this one: else single texts would decide on them."""
L2, HEAD_L2, PROXIMITY = 0.1, 3e-2, 0.1
"""Of pretraining, of the classifier's head, and of an updated body to the pretrained one."""
DAMPING = 1e-5
"""Where there is no l2 term: words that no text has beside others have no curvature."""


class Body(nn.Module):
    """Token ids (B, 1 + L) and shares (B, S, L) of S parts of each text, to the states (B, S, width) of the parts.

    A state is a weighted mean of what a part's words say of each common word. In it common words weigh little
    (`emphasis`), and rare ones are scaled up, which is an l2 term that falls with a word's frequency.

    Args:
        counts: (vocabulary,), of each token in the texts to pretrain on.
        width: number of common words: those with the first ids.
    """

    def __init__(self, counts: Tensor, width: int):
        super().__init__()
        self.words = nn.Embedding(len(counts), width)
        nn.init.zeros_(self.words.weight)
        shares = counts / counts.sum()
        known = torch.arange(len(counts)) >= FIRST_WORD
        self.register_buffer("emphasis", emphasis(counts) * known, persistent=False)
        self.register_buffer("scale", (shares + RARE).rsqrt(), persistent=False)

    def forward(self, tokens: Tensor, shares: Tensor) -> Tensor:
        ids = tokens[:, 1:]
        weights = cast(Tensor, self.emphasis)[ids][:, None] * shares
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-9)
        return (weights * cast(Tensor, self.scale)[ids][:, None]) @ self.words(ids)


class WordPairs(nn.Module):
    """Token ids (B, 1 + L) -> logits (B, 2, width) of the common words, at the even and at the odd places of a text.

    Words at even places are predicted from those at odd places, and these from those: no word from itself.

    Args:
        counts, width: as of `Body`.
    """

    def __init__(self, counts: Tensor, width: int):
        super().__init__()
        self.body = Body(counts, width)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1] - 1, device=tokens.device) % 2
        others = torch.stack([places == 1, places == 0]).expand(len(tokens), 2, -1)
        return self.body(tokens, others) + self.bias


class TextClassifier(nn.Module):
    """Class logits (B, classes) of token ids (B, 1 + L): a linear layer on `sentence`.

    Args:
        counts, width: as of `Body`.
        classes: their number.
        fading: by what each further token weighs less in the state.
    """

    def __init__(self, counts: Tensor, width: int, classes: int, fading: float):
        super().__init__()
        self.body, self.head = Body(counts, width), nn.Linear(width, classes)
        self.fading = fading
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(sentence(self, tokens, self.fading))


def sentence(model: nn.Module, tokens: Tensor, fading: float) -> Tensor:
    """State of each whole text, normalised, (B, width); each further token weighs less by `fading`."""
    body = cast(Body, model.get_submodule("body"))
    faded = fading ** torch.arange(tokens.shape[1] - 1, device=tokens.device)
    states = body(tokens, faded.expand(len(tokens), 1, -1))[:, 0]
    return layer_norm(states, states.shape[-1:])


def weighted(examples: Sequence[tuple[Tensor, int]], emphasis: Tensor) -> list[Tensor]:
    """As `padded`, and how much each token weighs in its text's loss, (B, L), by the `emphasis` (vocabulary,)."""
    ids, classes = padded(examples)
    return [ids, classes, emphasis[ids[:, 1:]]]


def token_losses(logits: Tensor, batch: list[Tensor]) -> Tensor:
    """Each token's share (B, L) of its text's loss, in nats; 0 of padding and of words that are not common."""
    ids, weights = batch[0][:, 1:], batch[2]
    common = (ids >= FIRST_WORD) & (ids < FIRST_WORD + logits.shape[-1])
    chances = log_softmax(logits, -1)[:, torch.arange(ids.shape[1], device=ids.device) % 2]
    losses = -chances.gather(2, ((ids - FIRST_WORD) * common)[..., None])[..., 0]
    weights = weights.to(losses) * common
    return losses * weights / weights.sum(1, keepdim=True).clamp(min=1e-9)


def language_loss(logits: Tensor, batch: list[Tensor]) -> Tensor:
    """Weighted mean loss of each text's common words, (B,), in nats; 0 of a text without any."""
    return token_losses(logits, batch).sum(1)


def word_pairs(options: TextOptions, counts: Tensor) -> TextModels:
    """The models of `options`; `counts` (vocabulary,) are of each token in the texts to pretrain on."""
    width = max(1, min(options.width, len(counts) - FIRST_WORD))
    l2 = L2 if options.l2 is None else options.l2
    return TextModels(
        language_model=lambda: WordPairs(counts, width),
        classifier=lambda classes: TextClassifier(counts, width, classes, options.fading),
        collate=partial(weighted, emphasis=emphasis(counts)),
        language_loss=language_loss,
        token_losses=token_losses,
        sentence=partial(sentence, fading=options.fading),
        l2=l2,
        tuning_l2={"head.*": HEAD_L2},
        proximity=PROXIMITY,
        damping=0.0 if l2 else DAMPING,
        epochs=options.epochs or 0,
        words=f"A language model that predicts each of {width} common words from the words beside it",
        counted="common words",
    )
