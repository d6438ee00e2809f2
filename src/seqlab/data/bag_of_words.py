"""What a sentence classifier has to beat: the most frequent class, and a bag of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Inverse strengths of the penalty that the validation split chooses from.
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_ITERATIONS = 2000


@dataclass(frozen=True)
class BagOfWords:
    """A fitted bag of words and what it says of the held-out texts.

    Attributes:
        predictions: Class of each held-out text, (E,) int64.
        strength: Inverse strength of the penalty, chosen on the validation split.
        words: Size of the vocabulary.
    """

    predictions: np.ndarray
    strength: float
    words: int


def majority_class(labels: np.ndarray) -> int:
    """Return the most frequent of `labels` (E,); of several, the lowest."""
    return int(np.bincount(labels).argmax())


def bag_of_words(
    train: tuple[Sequence[str], np.ndarray],
    validation: tuple[Sequence[str], np.ndarray],
    held_out: Sequence[str],
) -> BagOfWords:
    """Fit a logistic regression on word counts (scikit-learn's default words, in lower case).

    The strength of its penalty is the one that is best on the validation split, the stronger
    penalty of equal ones; where that split is empty it is 1. The weights are fitted on the
    training split alone.

    Args:
        train: Texts and their classes, (E,) int64.
        validation: The same of the validation split.
        held_out: Texts to predict.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    words = CountVectorizer()
    counts = words.fit_transform(train[0])
    strengths = STRENGTHS if len(validation[0]) else (1.0,)
    fitted = [
        LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(counts, train[1])
        for strength in strengths
    ]
    best = 0
    if len(validation[0]):
        seen = words.transform(validation[0])
        best = int(np.argmax([model.score(seen, validation[1]) for model in fitted]))
    return BagOfWords(
        predictions=fitted[best].predict(words.transform(held_out)),
        strength=strengths[best],
        words=len(words.vocabulary_),
    )
