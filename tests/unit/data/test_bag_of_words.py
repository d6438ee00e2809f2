"""The baselines of classifiers: the rule is found, and the penalty is chosen without the test."""

from __future__ import annotations

import numpy as np
import pytest

from seqlab.data.bag_of_words import STRENGTHS, bag_of_words, majority_class

WORDS = ["plot", "actor", "scene", "music", "camera", "story", "role", "end"]


def reviews(count: int, seed: int, noise: float = 0.0) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    said = np.where(rng.random(count) < noise, 1 - labels, labels)
    texts = [
        " ".join(rng.permutation([*rng.choice(WORDS, 6), ("bad", "good")[word]])) for word in said
    ]
    return texts, labels


def test_a_word_that_decides_is_found() -> None:
    test, labels = reviews(200, 2)
    found = bag_of_words(reviews(400, 0), reviews(100, 1), test)
    assert np.array_equal(found.predictions, labels)
    assert found.words == len(WORDS) + 2


def test_the_strength_is_the_best_on_validation_with_the_strongest_penalty_first() -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train, validation = reviews(150, 3, noise=0.3), reviews(300, 4, noise=0.3)
    found = bag_of_words(train, validation, validation[0])
    words = CountVectorizer().fit(train[0])
    counts = words.transform(train[0]), words.transform(validation[0])
    scores = [
        LogisticRegression(C=c, max_iter=2000).fit(counts[0], train[1]).score(counts[1], labels)
        for c in STRENGTHS
        for labels in [validation[1]]
    ]
    assert (found.predictions == validation[1]).mean() == max(scores)
    assert found.strength == STRENGTHS[scores.index(max(scores))]


def test_without_a_validation_split_the_strength_is_one() -> None:
    test, _ = reviews(10, 2)
    assert bag_of_words(reviews(50, 0), ([], np.empty(0, np.int64)), test).strength == 1.0


@pytest.mark.parametrize(("labels", "expected"), [([0, 1, 1], 1), ([1, 0], 0), ([2, 2, 0], 2)])
def test_the_majority_class(labels: list[int], expected: int) -> None:
    assert majority_class(np.array(labels)) == expected
