"""Permutation sites of BERT, in the tensor names of transformers.

H hidden, F intermediate, A heads of d features; one order of heads, one order within the heads for
queries and keys (all heads alike), another one for values:

| site | tensors and axis |
|---|---|
| `hidden` | columns of all embeddings; every LayerNorm of width H; query, key and value columns |
| | attention.output.dense rows and bias; intermediate.dense columns |
| | output.dense rows and bias; pooler.dense columns |
| | masked LM: transform.dense rows, columns and bias, its LayerNorm; decoder columns (once where |
| | tied to the embedding) |
| `ffn.<l>` | intermediate.dense rows and bias; output.dense columns |
| `head.<l>` | query, key and value rows and biases and attention.output.dense columns, by head |
| `query_key.<l>` | query and key rows and biases, within every head |
| `value.<l>` | value rows and bias and attention.output.dense columns, within every head |
| `pooled` | classification: pooler.dense rows and bias; classifier columns |

The decoder of a masked LM shares its matrix with the embedding, so the output of its transform has
to stand in the order of the residual stream.
"""

from __future__ import annotations

from typing import Any, Literal

from seqlab.errors import UserError
from seqlab.models.permuting import Site, TensorAxis

Head = Literal["masked_lm", "sequence_classification"]
_DECODER = "cls.predictions.decoder.weight"
_EMBEDDING = "bert.embeddings.word_embeddings.weight"


def bert_sites(config: Any, head: Head) -> dict[str, Site]:
    """Return every site of a BERT by name.

    Args:
        config: A `transformers.BertConfig`, or anything with its fields.
        head: Of `BertForMaskedLM`, or of `BertForSequenceClassification`.

    Raises:
        UserError: An encoder with cross-attention, or an untied decoder.
    """
    if getattr(config, "add_cross_attention", False) or getattr(config, "is_decoder", False):
        raise UserError("a BERT decoder has sites that are not listed", fix="use an encoder")
    if head == "masked_lm" and not config.tie_word_embeddings:
        raise UserError(
            "the sites of a masked LM assume that its decoder is tied to the embedding",
            where="tie_word_embeddings",
        )
    sites = [_hidden_site(config, head)]
    for layer in range(config.num_hidden_layers):
        sites += _layer_sites(config, layer)
    if head == "sequence_classification":
        axes = (*_rows("bert.pooler.dense"), TensorAxis("classifier.weight", 1))
        sites.append(Site("pooled", config.hidden_size, "global", axes))
    return {site.name: site for site in sites}


def _hidden_site(config: Any, head: Head) -> Site:
    axes = [
        *(
            TensorAxis(f"bert.embeddings.{kind}_embeddings.weight", 1)
            for kind in ("word", "position", "token_type")
        ),
        *_norm("bert.embeddings.LayerNorm"),
    ]
    for layer in range(config.num_hidden_layers):
        block = f"bert.encoder.layer.{layer}"
        axes += [
            *(TensorAxis(f"{block}.attention.self.{x}.weight", 1) for x in _QKV),
            *_rows(f"{block}.attention.output.dense"),
            *_norm(f"{block}.attention.output.LayerNorm"),
            TensorAxis(f"{block}.intermediate.dense.weight", 1),
            *_rows(f"{block}.output.dense"),
            *_norm(f"{block}.output.LayerNorm"),
        ]
    if head == "sequence_classification":
        axes.append(TensorAxis("bert.pooler.dense.weight", 1))
    else:
        transform = "cls.predictions.transform"
        axes += [
            TensorAxis(f"{transform}.dense.weight", 1),
            *_rows(f"{transform}.dense"),
            *_norm(f"{transform}.LayerNorm"),
            TensorAxis(_DECODER, 1, tied_to=_EMBEDDING),
        ]
    return Site("hidden", config.hidden_size, "global", tuple(axes))


_QKV = ("query", "key", "value")


def _layer_sites(config: Any, layer: int) -> list[Site]:
    block = f"bert.encoder.layer.{layer}"
    inside, output = f"{block}.attention.self", f"{block}.attention.output.dense.weight"
    heads = config.num_attention_heads
    width = config.hidden_size // heads
    starts = tuple(head * width for head in range(heads))
    ffn = (*_rows(f"{block}.intermediate.dense"), TensorAxis(f"{block}.output.dense.weight", 1))
    by_head = (
        *(axis for x in _QKV for axis in _rows(f"{inside}.{x}", block=width)),
        TensorAxis(output, 1, block=width),
    )
    query_key = tuple(
        axis for x in ("query", "key") for axis in _rows(f"{inside}.{x}", segments=starts)
    )
    value = (*_rows(f"{inside}.value", segments=starts), TensorAxis(output, 1, starts))
    return [
        Site(f"ffn.{layer}", config.intermediate_size, "layer", ffn),
        Site(f"head.{layer}", heads, "layer", by_head),
        Site(f"query_key.{layer}", width, "layer", query_key),
        Site(f"value.{layer}", width, "layer", value),
    ]


def _rows(dense: str, segments: tuple[int, ...] = (0,), block: int = 1) -> tuple[TensorAxis, ...]:
    """Return the output axis of a dense layer with its bias."""
    return tuple(TensorAxis(f"{dense}.{part}", 0, segments, block) for part in ("weight", "bias"))


def _norm(norm: str) -> tuple[TensorAxis, ...]:
    return (TensorAxis(f"{norm}.weight", 0), TensorAxis(f"{norm}.bias", 0))
