"""Tiny checkpoints of the real classes and fixture data in the real schemas, for rehearsals.

A rehearsal runs the paper graph on a CPU against a hub on loopback that answers the ids of
config/hub.lock.yaml with what is made here. Numbers that come of it mean nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from hub.server import HubServer, Repository, serve
from hub.torchvision_resnet import TorchvisionResNet
from seqlab.data.lock import LOCK_FILE, HubLock, read_lock
from seqlab.data.resources import load_resource
from seqlab.data.tokenizer import end_of_text_id, resource_tokenizer, save_tokenizer

# The tokenizer of GPT-NeoX has 50,277 entries, and Mamba pads its embeddings to a multiple of 8.
VOCABULARY = 50_280
BERT_VOCABULARY = 2000
SST2 = "stanfordnlp/sst2"
# Sentences of the training, validation and test split of the fixture.
SENTENCES = {"train": 800, "validation": 100, "test": 50}
WIKITEXT = "Salesforce/wikitext"
WIKITEXT_CONFIG = "wikitext-103-raw-v1"
# Articles of the training, validation and test split of the fixture.
ARTICLES = {"train": 500, "validation": 40, "test": 300}
# OGB's raw files of ogbn-arxiv, in a folder of a repository that holds other data too.
ARXIV = "ZhuofengLi/TEG-Datasets"
OGB_FOLDER = "arxiv/dataset/ogbn_arxiv"
ROOT = Path(__file__).resolve().parents[2]

_WIKITEXT_CARD = """\
---
license:
- cc-by-sa-3.0
- gfdl
configs:
- config_name: wikitext-103-raw-v1
  data_files:
  - split: test
    path: wikitext-103-raw-v1/test-*
  - split: train
    path: wikitext-103-raw-v1/train-*
  - split: validation
    path: wikitext-103-raw-v1/validation-*
- config_name: wikitext-2-raw-v1
  data_files:
  - split: test
    path: wikitext-2-raw-v1/test-*
---
A fixture in the schema of WikiText; its texts are lead sections of Wikipedia, CC BY-SA 4.0.
"""


def write_wikitext(folder: Path) -> None:
    """Write a fixture of WikiText-103: rows are lines, articles start at ` = Title = ` rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / WIKITEXT_CONFIG).mkdir(parents=True)
    (folder / "README.md").write_text(_WIKITEXT_CARD)
    articles = load_resource("wiki_leads").lines()
    for split, count in ARTICLES.items():
        rows: list[str] = []
        for _ in range(count):
            article = next(articles)
            rows += ["", f" = {article['title']} = \n", ""]
            rows += [f" {line} \n" for line in article["text"].splitlines() if line.strip()]
        shards = 2 if split == "train" else 1
        for shard in range(shards):
            part = rows[len(rows) * shard // shards : len(rows) * (shard + 1) // shards]
            name = f"{split}-{shard:05d}-of-{shards:05d}.parquet"
            pq.write_table(pa.table({"text": part}), folder / WIKITEXT_CONFIG / name)


def write_ogb(folder: Path) -> None:
    """Write a fixture in OGB's raw files: papers of 4 classes that cite mostly their own."""
    import gzip

    import numpy as np

    rng = np.random.default_rng(0)
    nodes, classes = 200, 4
    labels = rng.permutation(nodes) % classes
    source = rng.integers(0, nodes, 900)
    own = rng.random(900) < 0.8
    target = np.where(
        own,
        [rng.choice(np.flatnonzero(labels == labels[node])) for node in source],
        rng.integers(0, nodes, 900),
    )
    features = np.eye(classes)[labels].repeat(2, axis=1) + rng.standard_normal((nodes, 8))
    order = rng.permutation(nodes)
    tables: dict[str, Any] = {
        "raw/edge": np.stack([source, target], axis=1),
        "raw/node-feat": features.round(6),
        "raw/node-label": labels[:, None],
        "raw/num-node-list": [[nodes]],
        "split/time/train": order[:100, None],
        "split/time/valid": order[100:140, None],
        "split/time/test": order[140:, None],
    }
    for name, rows in tables.items():
        path = folder / OGB_FOLDER / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(",".join(map(str, np.asarray(row).tolist())) + "\n" for row in rows)
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    (folder / "README.md").write_text("---\nlicense: odc-by\n---\nA fixture in OGB's layout.\n")


def write_timm_resnet(folder: Path, *, seed: int = 0) -> None:
    """Write a tiny ResNet as timm stores torchvision's: its names, and a config of its own."""
    import json

    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    model = TorchvisionResNet(16, (32, 64), (1, 1), 10, seed)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    config = {"architecture": "resnet50", "num_classes": 10, "pretrained_cfg": {"tag": "tv2_in1k"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "README.md").write_text("---\nlicense: bsd-3-clause\n---\nA tiny model.\n")


_SST2_CARD = """\
---
license:
- unknown
dataset_info:
  features:
  - name: idx
    dtype: int32
  - name: sentence
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': negative
          '1': positive
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: validation
    path: data/validation-*
  - split: test
    path: data/test-*
---
A fixture in the schema of SST-2; its sentences are those of the movie reviews of this project.
"""


def write_sst2(folder: Path) -> None:
    """Write a fixture of SST-2: `idx`, `sentence`, `label`; the labels of `test` are hidden."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(_SST2_CARD)
    # The source is sorted by class.
    rows = list(load_resource("movie_sentiment").lines())
    sentences = iter(random.Random(0).sample(rows, sum(SENTENCES.values())))
    for split, count in SENTENCES.items():
        chosen = list(islice(sentences, count))
        labels = [-1 if split == "test" else int(row["mean"] > 0) for row in chosen]
        table = pa.table(
            {
                "idx": pa.array(range(len(chosen)), pa.int32()),
                "sentence": [row["text"].lower() + " " for row in chosen],
                "label": pa.array(labels, pa.int64()),
            }
        )
        pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")


def save_wordpiece(folder: Path) -> None:
    """Write a small tokenizer of BERT's kind, with the files that its repositories have."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    texts = [row["text"] for row in load_resource("movie_sentiment").lines()]
    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(texts, vocab_size=BERT_VOCABULARY, show_progress=False)
    trained.save_model(str(folder))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)


def write_checkpoint(
    folder: Path, family: str, *, seed: int = 0, pickled: bool = False, shards: bool = False
) -> None:
    """Write a tiny model of a real class of transformers, with a tokenizer where it reads text.

    Args:
        folder: New model folder.
        family: `mamba`, `llama`, `mistral`, `bert`, `bert_encoder`, `resnet` or `timm_resnet`.
        seed: Seed of the weights.
        pickled: Write `pytorch_model.bin` instead of safetensors, as old repositories have it.
        shards: Write several safetensors files and an index, as large repositories have it.
    """
    import torch

    if family == "timm_resnet":
        write_timm_resnet(folder, seed=seed)
        return
    folder.mkdir(parents=True)
    end = 0
    if family == "bert_encoder":
        save_wordpiece(folder)
    elif family != "resnet":
        tokenizer = resource_tokenizer()
        end = end_of_text_id(tokenizer)
        save_tokenizer(tokenizer, folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _FAMILIES[family](end)
    if shards:
        model.save_pretrained(folder, max_shard_size="1MB")
    else:
        model.save_pretrained(folder)
    if pickled:
        (folder / "model.safetensors").unlink()
        # Tied tensors share memory in the pickle too.
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nA tiny model for tests.\n")


def _mamba(end: int) -> Any:
    from transformers import MambaConfig, MambaForCausalLM

    special = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8, "time_step_rank": 4}
    return MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, **shape, **special))


def _decoder(name: str) -> Callable[[int], Any]:
    def build(end: int) -> Any:
        import transformers

        config = getattr(transformers, f"{name}Config")(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
        )
        return getattr(transformers, f"{name}ForCausalLM")(config)

    return build


def _bert(end: int) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    config = BertConfig(
        vocab_size=VOCABULARY, num_attention_heads=4, num_labels=2, pad_token_id=end, **shape
    )
    return BertForSequenceClassification(config)


def _bert_encoder(_end: int) -> Any:
    """Return what bert-large-uncased is: pretrained heads, and none of a classifier."""
    from transformers import BertConfig, BertForPreTraining

    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    return BertForPreTraining(
        BertConfig(vocab_size=BERT_VOCABULARY, num_attention_heads=4, pad_token_id=0, **shape)
    )


def _resnet(end: int) -> Any:
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}
    return ResNetForImageClassification(ResNetConfig(num_labels=10, **sizes))


_FAMILIES: dict[str, Callable[[int], Any]] = {
    "mamba": _mamba,
    "llama": _decoder("Llama"),
    "mistral": _decoder("Mistral"),
    "bert": _bert,
    "bert_encoder": _bert_encoder,
    "resnet": _resnet,
}
# Every form of weights that the real repositories have is among them.
MODELS: dict[str, dict[str, Any]] = {
    "state-spaces/mamba-130m-hf": {"family": "mamba", "seed": 1, "pickled": True},
    "state-spaces/mamba-370m-hf": {"family": "mamba", "seed": 2},
    "state-spaces/mamba-2.8b-hf": {"family": "mamba", "seed": 3, "shards": True},
    "timm/resnet50.tv2_in1k": {"family": "timm_resnet", "seed": 4},
    "google-bert/bert-large-uncased": {"family": "bert_encoder", "seed": 4},
}


def rehearsal_repositories(folder: Path, lock: HubLock) -> list[Repository]:
    """Make everything that the lock file lists, in `folder`; what is there is used again.

    A repository that the lock file pins answers with the pinned commit.
    """
    repositories = []
    for kind, entries in lock.commits.items():
        for name, commit in entries.items():
            target = folder / kind / name
            if not target.is_dir():
                if kind == "model":
                    write_checkpoint(target, **MODELS[name])
                else:
                    _DATASETS[name](target)
            repositories.append(Repository(kind, name, target, commit or ""))
    return repositories


_DATASETS: dict[str, Callable[[Path], None]] = {
    WIKITEXT: write_wikitext,
    ARXIV: write_ogb,
    SST2: write_sst2,
}


@contextmanager
def rehearsal(folder: Path, lock: HubLock | None = None) -> Iterator[HubServer]:
    """Serve everything that config/hub.lock.yaml lists, as tiny fixtures made in `folder`."""
    lock = lock or read_lock(ROOT / LOCK_FILE)
    with serve(rehearsal_repositories(folder, lock)) as server:
        yield server


@contextmanager
def serve_rehearsal(folder: Path) -> Iterator[str]:
    """Yield the address of a rehearsal hub, for `HF_ENDPOINT`."""
    with rehearsal(folder) as server:
        yield server.url
