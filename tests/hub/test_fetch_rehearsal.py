"""The fetch steps against the rehearsal hub: real classes, real schemas, every form of weights."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hub.checkpoints import (
    ARTICLES,
    ARXIV,
    MODELS,
    OGB_FOLDER,
    SENTENCES,
    SST2,
    WIKITEXT,
    WIKITEXT_CONFIG,
    rehearsal,
    write_checkpoint,
)
from hub.server import HubServer
from seqlab.assets.corpus import corpus
from seqlab.assets.examples import examples
from seqlab.assets.graph import graph
from seqlab.assets.graph_spec import GraphSpec, ImageModelSpec
from seqlab.assets.image_model import image_model
from seqlab.assets.init_model import init_model
from seqlab.assets.spec import CorpusSpec, ExamplesSpec, InitModelSpec, TokenizerSpec, TokensSpec
from seqlab.assets.tokenizer import tokenizer
from seqlab.assets.tokens import tokens
from seqlab.assets.train_classifier import train_classifier
from seqlab.data import network
from seqlab.data.corpus import read_documents
from seqlab.data.examples import load_examples
from seqlab.data.lock import HubLock, pin_fetched, read_lock, write_lock
from seqlab.data.sources import read_origin
from seqlab.data.tokens import load_tokens
from seqlab.errors import UserError
from seqlab.models.classifier import load_classifier
from seqlab.spec import Context
from seqlab.training.classifier_spec import TrainClassifierSpec
from seqlab.training.spec import TrainSpec

DATASETS = (WIKITEXT, ARXIV, SST2)
LOCK = HubLock(Path("lock"), {"model": dict.fromkeys(MODELS), "dataset": dict.fromkeys(DATASETS)})
CAUSAL = [name for name, made in MODELS.items() if made["family"] == "mamba"]
BERT = "google-bert/bert-large-uncased"
SST2_SPEC = CorpusSpec(
    source=f"hub:{SST2}",
    text_column="sentence",
    label_column="label",
    held_out="validation",
    validation_share=0.1,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with (
        pytest.MonkeyPatch.context() as patch,
        rehearsal(tmp_path_factory.mktemp("hub"), LOCK) as hub,
    ):
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        patch.setattr(network, "_ASKED", {})
        yield hub


@pytest.mark.parametrize("name", CAUSAL)
def test_a_fetched_model_is_what_transformers_wrote(
    server: HubServer, tmp_path: Path, name: str
) -> None:
    from transformers import AutoModelForCausalLM

    from seqlab.models.pretrained import load_causal_lm

    out = tmp_path / "model"
    init_model(InitModelSpec(source=f"hub:{name}"), tokenizer=[], out=out)
    origin = read_origin(out)
    assert origin.revision == server.repositories["model", name].commit
    assert origin.rehearsal and origin.licence == "apache-2.0"
    assert not list(out.glob("*.bin*")) and list(out.glob("*.safetensors"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "the download was left behind"
    remote = server.repositories["model", name].folder
    expected = AutoModelForCausalLM.from_pretrained(remote).state_dict()
    again = AutoModelForCausalLM.from_pretrained(out).state_dict()
    ours = load_causal_lm(out).state_dict()
    for key, tensor in expected.items():
        assert torch.equal(tensor, again[key]) and torch.equal(tensor, ours[key]), key


def test_wikitext_becomes_articles(server: HubServer, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    spec = CorpusSpec(source=f"hub:{WIKITEXT}", config=WIKITEXT_CONFIG, layout="wikitext")
    corpus(spec, resource=[], out=out)
    found = list(read_documents(out))
    assert {s: sum(d.split == s for d in found) for s in ARTICLES} == ARTICLES
    assert found[0].metadata["title"] == "20th-century classical music"
    assert found[0].text.startswith(" = 20th-century classical music = \n")
    origin = read_origin(out)
    assert origin.revision == server.repositories["dataset", WIKITEXT].commit
    assert origin.licence == "cc-by-sa-3.0, gfdl"
    fetched = set(origin.sha256)
    assert f"{WIKITEXT_CONFIG}/train-00001-of-00002.parquet" in fetched and "README.md" in fetched


def test_a_fetched_model_brings_its_tokenizer_and_encodes(
    server: HubServer, tmp_path: Path
) -> None:
    name = "state-spaces/mamba-370m-hf"
    init_model(InitModelSpec(source=f"hub:{name}"), tokenizer=[], out=tmp_path / "model")
    tokenizer(
        TokenizerSpec(source="model"),
        corpus=[],
        model=[tmp_path / "model"],
        out=tmp_path / "tokenizer",
    )
    spec = CorpusSpec(source=f"hub:{WIKITEXT}", config=WIKITEXT_CONFIG, layout="wikitext")
    corpus(spec, resource=[], out=tmp_path / "corpus")
    tokens(
        TokensSpec(splits=("test",)),
        corpus=tmp_path / "corpus",
        tokenizer=tmp_path / "tokenizer",
        out=tmp_path / "tokens",
    )
    test = load_tokens(tmp_path / "tokens", "test")
    texts = [d.text for d in read_documents(tmp_path / "corpus", "test")]
    assert test.bytes_of(test.ids) == sum(len(text.encode()) for text in texts)


def test_sst2_keeps_its_labels_and_its_validation_split_is_held_out(
    server: HubServer, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    corpus(SST2_SPEC, resource=[], out=tmp_path / "corpus")
    found = list(read_documents(tmp_path / "corpus"))
    sizes = Counter(d.split for d in found)
    assert sizes["test"] == SENTENCES["validation"]
    assert sizes["train"] + sizes["validation"] == SENTENCES["train"]
    remote = server.repositories["dataset", SST2].folder / "data"
    theirs = pq.read_table(remote / "validation-00000-of-00001.parquet").to_pylist()
    assert [(d.text, d.label) for d in found if d.split == "test"] == [
        (row["sentence"], row["label"]) for row in theirs
    ]
    assert {d.label for d in found} == {0, 1}, "no hidden label"


def test_a_fetched_encoder_is_fine_tuned_with_its_own_tokenizer(
    server: HubServer, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    corpus(SST2_SPEC, resource=[], out=tmp_path / "corpus")
    init_model(InitModelSpec(source=f"hub:{BERT}"), tokenizer=[], out=tmp_path / "init")
    tokenizer(
        TokenizerSpec(source="model"),
        corpus=[],
        model=[tmp_path / "init"],
        out=tmp_path / "tokenizer",
    )
    examples(
        ExamplesSpec(),
        corpus=tmp_path / "corpus",
        tokenizer=tmp_path / "tokenizer",
        out=tmp_path / "examples",
    )
    texts = [d.text for d in read_documents(tmp_path / "corpus", "test")]
    theirs = AutoTokenizer.from_pretrained(server.repositories["model", BERT].folder)
    test = load_examples(tmp_path / "examples", "test")
    expected = theirs(texts, padding=True, return_tensors="np")
    batch = test.batch(np.arange(len(test)))
    assert np.array_equal(batch.input_ids, expected["input_ids"])
    assert np.array_equal(batch.attention_mask, expected["attention_mask"])
    train_classifier(
        TrainClassifierSpec(batch=4, train=TrainSpec(steps=2, lr=1e-3)),
        init=tmp_path / "init",
        examples=tmp_path / "examples",
        corpus=tmp_path / "corpus",
        state=tmp_path / "state",
        out=tmp_path / "trained",
        context=Context(device="cpu"),
    )
    origin = read_origin(tmp_path / "trained")
    assert origin.rehearsal and origin.source == f"hub:{BERT}"
    assert load_classifier(tmp_path / "trained").config.num_labels == 2
    again = AutoTokenizer.from_pretrained(tmp_path / "trained")
    assert again(texts[0]).input_ids == theirs(texts[0]).input_ids


def test_commits_are_pinned_from_fetched_folders_but_not_from_rehearsals(
    server: HubServer, tmp_path: Path
) -> None:
    name = "state-spaces/mamba-370m-hf"
    out = tmp_path / "model"
    init_model(InitModelSpec(source=f"hub:{name}"), tokenizer=[], out=out)
    lock = tmp_path / "hub.lock.yaml"
    write_lock(LOCK.commits, lock)
    assert pin_fetched([out], lock) == {}
    # What a fetch from a hub elsewhere would have written.
    origin = json.loads((out / "source.json").read_text()) | {"rehearsal": False}
    (out / "source.json").write_text(json.dumps(origin))
    commit = server.repositories["model", name].commit
    assert pin_fetched([out], lock) == {name: commit}
    assert read_lock(lock).revision("model", name, locked=True) == commit
    write_lock({"model": {name: "1" * 40}, "dataset": {}}, lock)
    with pytest.raises(UserError, match=f"fetched at {commit}, locked at 1111"):
        pin_fetched([out], lock)


@pytest.mark.parametrize("family", ["llama", "mistral", "bert", "resnet"])
def test_every_family_can_be_taken_from_a_folder(tmp_path: Path, family: str) -> None:
    write_checkpoint(tmp_path / "theirs", family, pickled=True)
    out = tmp_path / "model"
    init_model(InitModelSpec(source=f"path:{tmp_path / 'theirs'}"), tokenizer=[], out=out)
    state = torch.load(tmp_path / "theirs" / "pytorch_model.bin", weights_only=True)
    converted = load_file(out / "model.safetensors")
    assert converted and all(torch.equal(state[name], converted[name]) for name in converted)
    assert read_origin(out).detail["converted"] == {"pytorch_model.bin": "model.safetensors"}


def test_a_graph_is_fetched_in_ogbs_raw_files(server: HubServer, tmp_path: Path) -> None:
    from seqlab.data.graph_folder import load_graph

    out = tmp_path / "graph"
    graph(GraphSpec(source=f"hub:{ARXIV}", folder=OGB_FOLDER, nodes=200, edges=900), out=out)
    found, origin = load_graph(out), read_origin(out)
    assert (found.nodes, found.classes, found.features.shape[1]) == (200, 4, 8)
    assert origin.rehearsal and origin.licence == "odc-by" and origin.attribution == ARXIV
    assert origin.revision == server.repositories["dataset", ARXIV].commit
    assert f"{OGB_FOLDER}/raw/edge.csv.gz" in origin.sha256
    assert f"{OGB_FOLDER}/raw/num-node-list.csv.gz" not in origin.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["graph"], "the download was left behind"
    with pytest.raises(UserError, match=r"no raw/edge\.csv\.gz.*path:DIR"):
        graph(GraphSpec(source=f"hub:{ARXIV}"), out=tmp_path / "other")


def test_a_timm_resnet_becomes_transformers_with_the_same_function(
    server: HubServer, tmp_path: Path
) -> None:
    from hub.torchvision_resnet import TorchvisionResNet
    from seqlab.models.resnet import load_resnet, random_images

    name = "timm/resnet50.tv2_in1k"
    out = tmp_path / "model"
    image_model(ImageModelSpec(source=f"hub:{name}"), out=out)
    origin = read_origin(out)
    assert origin.rehearsal and origin.licence == "bsd-3-clause"
    assert origin.revision == server.repositories["model", name].commit
    assert origin.detail["renamed"] == "torchvision to transformers"
    theirs = TorchvisionResNet(16, (32, 64), (1, 1), 10, seed=0)
    theirs.load_state_dict(
        load_file(server.repositories["model", name].folder / "model.safetensors")
    )
    pixels = random_images(2, 48, 3, seed=0)
    with torch.no_grad():
        expected, found = theirs(pixels), load_resnet(out)(pixels).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "the download was left behind"
