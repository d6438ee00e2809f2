"""The asset steps from corpus to model, on a few vendored documents."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest

from seqlab.assets.baselines import baselines
from seqlab.assets.corpus import corpus
from seqlab.assets.examples import examples
from seqlab.assets.init_model import init_model
from seqlab.assets.spec import (
    BaselinesSpec,
    BertShape,
    CorpusSpec,
    ExamplesSpec,
    InitModelSpec,
    MambaShape,
    TokenizerSettings,
    TokenizerSpec,
    TokensSpec,
)
from seqlab.assets.tokenizer import tokenizer
from seqlab.assets.tokens import tokens
from seqlab.data.corpus import Document, read_documents, texts, write_documents
from seqlab.data.examples import load_examples
from seqlab.data.sources import read_origin
from seqlab.data.tokenizer import load_tokenizer
from seqlab.data.tokens import load_tokens, token_index
from seqlab.data.vendored import vendored_documents
from seqlab.errors import UserError

SHAPE = MambaShape(hidden_size=16, num_hidden_layers=1, state_size=4)


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("assets")
    _, documents = vendored_documents("wiki_leads")
    few = [document for document, _ in zip(documents, range(120), strict=False)]
    write_documents(root / "corpus", few)
    tokenizer(
        TokenizerSpec(vocabulary=320), corpus=[root / "corpus"], model=[], out=root / "tokenizer"
    )
    tokens(TokensSpec(), corpus=root / "corpus", tokenizer=root / "tokenizer", out=root / "tokens")
    spec = InitModelSpec(source="init:mamba", mamba=SHAPE, seed=3, pad_vocabulary_to=64)
    init_model(spec, tokenizer=[root / "tokenizer"], out=root / "model")
    return root


def test_a_vendored_corpus_says_where_it_is_from(tmp_path: Path) -> None:
    corpus(CorpusSpec(source="vendored:movie_sentiment"), resource=[], out=tmp_path / "corpus")
    origin = read_origin(tmp_path / "corpus")
    assert origin.licence == "MIT" and "vaderSentiment 3.3.2" in origin.detail["package"]
    assert origin.detail["splits"]["train"]["documents"] == sum(
        d.split == "train" for d in read_documents(tmp_path / "corpus")
    )
    assert not origin.rehearsal and origin.revision is None


def test_tokens_cover_the_text_byte_for_byte(assets: Path) -> None:
    for split in ("train", "validation", "test"):
        found = load_tokens(assets / "tokens", split)
        expected = sum(len(text.encode()) for text in texts(assets / "corpus", split))
        assert found.bytes_of(found.ids) == expected
    assert token_index(assets / "tokens")["vocabulary"] == 320


def test_fresh_weights_open_with_padded_embeddings_and_the_tokenizer(assets: Path) -> None:
    from seqlab.models.pretrained import load_causal_lm

    model = load_causal_lm(assets / "model")
    assert model.config.vocab_size == 320 and model.config.eos_token_id == 0
    assert (
        load_tokenizer(assets / "model").to_str() == load_tokenizer(assets / "tokenizer").to_str()
    )
    origin = read_origin(assets / "model")
    assert origin.detail["parameters"] == sum(p.numel() for p in model.parameters())


def test_the_same_seed_gives_the_same_file_and_another_does_not(
    assets: Path, tmp_path: Path
) -> None:
    written = {}
    for seed in (3, 4):
        spec = InitModelSpec(source="init:mamba", mamba=SHAPE, seed=seed, pad_vocabulary_to=64)
        init_model(spec, tokenizer=[assets / "tokenizer"], out=tmp_path / str(seed))
        written[seed] = (tmp_path / str(seed) / "model.safetensors").read_bytes()
    assert written[3] == (assets / "model" / "model.safetensors").read_bytes() != written[4]


def test_a_fresh_bert_opens_in_transformers_and_follows_from_its_seed(
    assets: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    shape = BertShape(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        num_labels=3,
        initializer_range=0.3,
    )
    weights = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        spec = InitModelSpec(source="init:bert", bert=shape, seed=seed, pad_vocabulary_to=64)
        init_model(spec, tokenizer=[assets / "tokenizer"], out=tmp_path / name)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "a")
    for field, value in shape.model_dump().items():
        assert getattr(model.config, field) == value
    assert model.config.vocab_size == 320
    embedding = model.bert.embeddings.word_embeddings.weight
    assert embedding.std().item() == pytest.approx(0.3, rel=0.05)
    assert embedding[0].abs().max() > 0.1, "the token that marks the start has a vector"
    origin = read_origin(tmp_path / "a")
    assert origin.detail["parameters"] == sum(p.numel() for p in model.parameters())
    assert origin.source == "init:bert" and not origin.rehearsal
    ids = AutoTokenizer.from_pretrained(tmp_path / "a")("the leads").input_ids
    assert ids[0] == ids[-1] == 0
    assert ids[1:-1] == load_tokenizer(assets / "tokenizer").encode("the leads").ids


def test_examples_keep_order_labels_and_text(tmp_path: Path) -> None:
    corpus(CorpusSpec(source="vendored:movie_sentiment"), resource=[], out=tmp_path / "corpus")
    tokenizer(
        TokenizerSpec(vocabulary=300),
        corpus=[tmp_path / "corpus"],
        model=[],
        out=tmp_path / "tokenizer",
    )
    examples(
        ExamplesSpec(length=32),
        corpus=tmp_path / "corpus",
        tokenizer=tmp_path / "tokenizer",
        out=tmp_path / "examples",
    )
    opened = load_tokenizer(tmp_path / "tokenizer")
    for split in ("train", "validation", "test"):
        documents = list(read_documents(tmp_path / "corpus", split))
        found = load_examples(tmp_path / "examples", split)
        assert found.labels.tolist() == [document.label for document in documents]
        assert 0.4 < found.labels.mean() < 0.6
        for index in (0, len(documents) // 2, -1):
            batch = found.batch(np.array([index % len(documents)]))
            whole = opened.encode(documents[index].text, add_special_tokens=False).ids
            assert batch.input_ids[0].tolist() == [0, *whole[:30], 0]


def test_a_model_of_the_users_own_is_linked_and_keeps_its_tokenizer(
    assets: Path, tmp_path: Path
) -> None:
    spec = InitModelSpec(source=f"path:{assets / 'model'}")
    init_model(spec, tokenizer=[], out=tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").samefile(
        assets / "model" / "model.safetensors"
    )
    tokenizer(
        TokenizerSpec(source="model"), corpus=[], model=[tmp_path / "model"], out=tmp_path / "tok"
    )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "tok" / name).read_bytes() == (assets / "tokenizer" / name).read_bytes()


def test_baselines_agree_with_xz_itself_and_fall_with_the_order(
    assets: Path, tmp_path: Path
) -> None:
    spec = BaselinesSpec(seen=("train",), byte_orders=(1, 3), token_orders=(1, 2))
    baselines(spec, corpus=assets / "corpus", tokens=assets / "tokens", out=tmp_path / "b.json")
    found = json.loads((tmp_path / "b.json").read_text())
    held_out = "".join(texts(assets / "corpus", "test")).encode()
    bits = found["bits_per_byte"]
    assert found["held_out_bytes"] == len(held_out)
    assert bits["xz"] == 8 * len(lzma.compress(held_out, preset=9)) / len(held_out)
    assert bits["xz_given_seen"] < bits["xz"]
    assert bits["byte_3gram"] < bits["byte_1gram"] < 8
    assert bits["token_2gram"] < bits["token_1gram"]


def test_baselines_of_another_corpus_are_refused(assets: Path, tmp_path: Path) -> None:
    other = [Document("a", "train", "one text"), Document("b", "test", "another text")]
    write_documents(tmp_path / "corpus", other)
    with pytest.raises(UserError, match="use tokens of the same corpus"):
        baselines(
            BaselinesSpec(seen=("train",)),
            corpus=tmp_path / "corpus",
            tokens=assets / "tokens",
            out=tmp_path / "b.json",
        )
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    ("spec", "folders", "message"),
    [
        (InitModelSpec(source="init:rwkv"), 1, "no architecture 'rwkv'"),
        (InitModelSpec(source="init:mamba"), 0, "one folder is needed, 0 given"),
        (InitModelSpec(source="init:bert"), 2, "one folder is needed, 2 given"),
        (InitModelSpec(source="path:/absent"), 1, "brings its own"),
        (InitModelSpec(source="path:/absent"), 0, "no such folder"),
    ],
)
def test_inputs_that_do_not_fit_the_source_are_refused(
    assets: Path, tmp_path: Path, spec: InitModelSpec, folders: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        init_model(spec, tokenizer=[assets / "tokenizer"] * folders, out=tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="revision belongs to hub"):
        CorpusSpec(source="vendored:sotu", revision="0" * 40)
    with pytest.raises(ValueError, match="mamba belongs to init:mamba"):
        InitModelSpec(source="hub:a/b", mamba=SHAPE)
    with pytest.raises(ValueError, match="bert belongs to init:bert"):
        InitModelSpec(source="init:mamba", bert=BertShape())
    with pytest.raises(ValueError, match="384 is no multiple of num_attention_heads 7"):
        BertShape(num_attention_heads=7)
    with pytest.raises(ValueError, match="not both"):
        TokenizerSettings(source="model", model="a", classifier="b")
    with pytest.raises(ValueError, match="model or classifier belongs to source 'model'"):
        TokenizerSettings(source="train", corpus="a", classifier="b")
    with pytest.raises(ValueError, match="source"):
        CorpusSpec(source="sotu")
    with pytest.raises(ValueError, match="revision"):
        InitModelSpec(source="hub:a/b", revision="main")
