"""Encoded examples and their batches, against transformers' own tokenizer and padding."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer, Tokenizer

from seqlab.data.corpus import Document
from seqlab.data.example_batches import ExampleBatches
from seqlab.data.examples import (
    Examples,
    classifier_tokenizer,
    example_index,
    load_examples,
    write_examples,
)
from seqlab.data.tokenizer import save_tokenizer, train_bpe
from seqlab.errors import UserError

TEXTS = [
    "a fine film, moving and sly",
    "dull",
    "the plot is thin; the jokes are thinner, and the rest is noise",
    "",
    "a fine, fine film",
]
LABELS = [1, 0, 0, 0, 1]


def documents(split: str, labels: list[int | None] | None = None) -> list[Document]:
    return [
        Document(f"{split}-{i}", split, text, label)
        for i, (text, label) in enumerate(zip(TEXTS, labels or LABELS, strict=True))
    ]


def bpe() -> Tokenizer:
    return train_bpe(TEXTS * 4, 300)


@cache
def _wordpiece() -> str:
    # Once: of pairs that are equally frequent, its training takes either.
    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(TEXTS * 4, vocab_size=120, show_progress=False)
    return BertWordPieceTokenizer(vocab=trained.get_vocab(), lowercase=True).to_str()


def wordpiece() -> Tokenizer:
    """Return a tokenizer with BERT's own template."""
    return Tokenizer.from_str(_wordpiece())


@pytest.mark.parametrize("length", [8, 128])
@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_ids_are_those_of_transformers(tmp_path: Path, kind: str, length: int) -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = bpe() if kind == "bpe" else wordpiece()
    write_examples(tmp_path / "out", tokenizer, {"train": documents("train")}, length)
    if kind == "bpe":
        save_tokenizer(classifier_tokenizer(bpe()), tmp_path / "tokenizer")
        theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path / "tokenizer")
        theirs.pad_token = "<|endoftext|>"
    else:
        theirs = PreTrainedTokenizerFast(tokenizer_object=wordpiece(), pad_token="[PAD]")
    expected = theirs(TEXTS, padding=True, truncation=True, max_length=length, return_tensors="np")
    examples = load_examples(tmp_path / "out", "train")
    batch = examples.batch(np.arange(5))
    assert np.array_equal(batch.input_ids, expected["input_ids"])
    assert np.array_equal(batch.attention_mask, expected["attention_mask"])
    assert batch.labels.tolist() == LABELS
    assert examples.padding == theirs.pad_token_id
    sizes = example_index(tmp_path / "out")["splits"]["train"]
    lengths = [len(ids) for ids in theirs(TEXTS)["input_ids"]]
    assert sizes["cut"] == sum(size > length for size in lengths)
    assert sizes["by_class"] == [3, 2] and sizes["tokens"] == examples.lengths.sum()


def test_a_template_marks_both_ends_once() -> None:
    tokenizer = classifier_tokenizer(classifier_tokenizer(bpe()))
    ids = tokenizer.encode("dull").ids
    assert ids[0] == ids[-1] == 0 and ids.count(0) == 2
    assert tokenizer.encode("dull", add_special_tokens=False).ids == ids[1:-1]


def test_a_batch_is_as_wide_as_its_longest_text(tmp_path: Path) -> None:
    write_examples(tmp_path, bpe(), {"train": documents("train")}, 128)
    examples = load_examples(tmp_path, "train")
    batch = examples.batch(np.array([3, 1]))
    assert batch.input_ids.shape == (2, examples.lengths[1])
    assert batch.attention_mask.sum(axis=1).tolist() == [2, examples.lengths[1]]
    assert batch.attention_mask[0, :2].all(), "padding stands on the right"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 0, None, 0, 1], "document 'train-2' has no label"),
        ([1, 0, -1, 0, 1], "document 'train-2' has no label"),
        ([1, 1, 1, 1, 1], r"labels of the training split are \[1\]"),
        ([0, 2, 2, 0, 0], r"labels of the training split are \[0, 2\]"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(
    tmp_path: Path, labels: list[int | None], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        write_examples(tmp_path, bpe(), {"train": documents("train", labels)}, 16)


def test_a_class_that_training_does_not_know_is_refused(tmp_path: Path) -> None:
    splits = {"test": documents("test", [0, 1, 2, 0, 1]), "train": documents("train")}
    with pytest.raises(UserError, match="test: label 2 does not occur in the training split"):
        write_examples(tmp_path, bpe(), splits, 16)


def test_damage_is_named(tmp_path: Path) -> None:
    write_examples(tmp_path, bpe(), {"train": documents("train")}, 16)
    with pytest.raises(UserError, match=r"no split 'test'.*use one of train"):
        load_examples(tmp_path, "test")
    np.save(tmp_path / "train.labels.npy", np.zeros(3, np.int64))
    with pytest.raises(UserError, match=r"3 examples of .* found, 5 of"):
        load_examples(tmp_path, "train")
    (tmp_path / "train.ids.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match="damaged"):
        load_examples(tmp_path, "train")
    (tmp_path / "examples.json").write_text('{"schema": 9}')
    with pytest.raises(UserError, match="schema 9 is not 1"):
        load_examples(tmp_path, "train")


def stream(lengths: list[int]) -> Examples:
    """Return examples whose ids are their own number."""
    ids = np.repeat(np.arange(len(lengths)), lengths)
    bounds = np.concatenate(([0], np.cumsum(lengths)))
    return Examples(ids, bounds, np.zeros(len(lengths), np.int64), 2, len(lengths), 0)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=80),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(0, 2**32),
)
def test_an_epoch_visits_no_example_twice(
    lengths: list[int], batch: int, pool: int, seed: int
) -> None:
    if len(lengths) < batch:
        with pytest.raises(UserError, match="do not fill a batch"):
            ExampleBatches(stream(lengths), batch, pool, seed)
        return
    batches = ExampleBatches(stream(lengths), batch, pool, seed)
    epoch = np.concatenate([batches.indices_at(step) for step in range(batches.steps_per_epoch)])
    assert len(np.unique(epoch)) == len(epoch) > len(lengths) - batch
    assert batches.batch_at(0).input_ids.shape[0] == batch


def test_a_batch_is_a_function_of_seed_and_step_alone() -> None:
    examples = stream(np.random.default_rng(0).integers(1, 60, 500).tolist())
    forward = ExampleBatches(examples, 8, 4, seed=3)
    steps = {step: forward.indices_at(step).copy() for step in range(150)}
    resumed = ExampleBatches(examples, 8, 4, seed=3)
    for step in (149, 3, 61, 62, 63, 0):
        assert np.array_equal(resumed.indices_at(step), steps[step])
    other = ExampleBatches(examples, 8, 4, seed=4)
    assert not np.array_equal(other.indices_at(0), steps[0])
    assert not np.array_equal(steps[62], steps[0]), "epochs differ"


def test_sorting_within_pools_saves_padding_and_keeps_lengths_mixed_over_time() -> None:
    examples = stream(np.random.default_rng(1).integers(1, 60, 2000).tolist())
    padded = {}
    for pool in (1, 16):
        batches = ExampleBatches(examples, 20, pool, seed=0)
        widths = [batches.batch_at(step).input_ids.shape[1] for step in range(100)]
        padded[pool] = sum(widths)
        assert len(set(widths[:10])) > 3
    assert padded[16] < 0.65 * padded[1]
