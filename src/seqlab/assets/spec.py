"""Settings of the steps that make corpora, tokenizers, tokens, baselines and initial models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from seqlab.assets.graph_spec import GraphAssetsSpec
from seqlab.data.lock import read_lock
from seqlab.data.sources import parse_source
from seqlab.spec import Spec, setting
from seqlab.training.classifier_spec import TrainClassifierSpec
from seqlab.training.spec import TrainModelSpec

_COMMIT = r"^[0-9a-f]{40}$"
_DATA_SOURCE = r"^(vendored|path|hub):.+$"
_TOKENIZER_SOURCE = r"^(train|model|vendored:.+|path:.+)$"
_MODEL_SOURCE = r"^(init|path|hub):.+$"
Share = Annotated[float, Field(gt=0, lt=0.5)]
Probability = Annotated[float, Field(ge=0, lt=1)]


class CorpusSpec(Spec):
    """Settings of `corpus`: one source of texts becomes documents in named splits."""

    source: str = setting(
        "`vendored:NAME`, `path:DIR` (a data set folder in Hugging Face format) or `hub:ID`.",
        pattern=_DATA_SOURCE,
    )
    revision: str | None = setting(
        "Commit of a hub data set, from config/hub.lock.yaml; null takes the newest.",
        default=None,
        pattern=_COMMIT,
    )
    config: str | None = setting("Configuration of a data set that has several.", default=None)
    text_column: str = setting("Column of a path or hub data set that holds text.", default="text")
    label_column: str | None = setting("Column that holds the class, if any.", default=None)
    documents: int | None = setting(
        "Most documents of each split, the first ones; null takes all.",
        unit="documents",
        default=None,
        ge=1,
    )
    layout: Literal["rows", "wikitext"] = setting(
        "One document per row, or WikiText's articles, which start at ` = Title = ` rows.",
        default="rows",
    )
    held_out: str = setting(
        "Split of a path or hub data set that becomes `test` (GLUE's own has no labels).",
        default="test",
    )
    validation_share: Share = setting(
        "Share of the documents put aside by a hash of their id, where the source has no "
        "validation split.",
        default=0.05,
    )
    test_share: Share = setting(
        "The same for the held-out split, where the source has none.", default=0.05
    )

    @model_validator(mode="after")
    def _revision_is_of_a_hub(self) -> CorpusSpec:
        if self.revision is not None and not self.source.startswith("hub:"):
            raise ValueError(f"revision belongs to hub: sources, and source is {self.source!r}")
        return self


class TokenizerSpec(Spec):
    """Settings of `tokenizer`."""

    source: str = setting(
        "`train` (byte-level BPE on the corpus' training split), `model` (that of the given model "
        "folder), `vendored:NAME` or `path:DIR`.",
        pattern=_TOKENIZER_SOURCE,
        default="train",
    )
    vocabulary: int = setting(
        "Entries of a trained tokenizer, the end-of-text token included.",
        unit="entries",
        default=2048,
        ge=257,
    )


class TokensSpec(Spec):
    """Settings of `tokens`."""

    splits: tuple[Literal["train", "validation", "test"], ...] = setting(
        "Splits that are encoded.", default=("train", "validation", "test"), min_length=1
    )


class ExamplesSpec(Spec):
    """Settings of `examples`: labelled texts for a classifier."""

    length: int = setting(
        "Most tokens of an example, special tokens included; what is beyond is cut off.",
        unit="tokens",
        default=128,
        ge=3,
    )


class BaselinesSpec(Spec):
    """Settings of `baselines`: what a language model has to beat on the held-out split."""

    seen: tuple[Literal["train", "validation"], ...] = setting(
        "Splits that compressors and n-gram models have seen. A model selected on the validation "
        "split has seen both.",
        default=("train", "validation"),
        min_length=1,
    )

    byte_orders: tuple[Annotated[int, Field(ge=1, le=8)], ...] = setting(
        "Orders of the byte n-gram models.", unit="bytes", default=(4, 5)
    )
    token_orders: tuple[Annotated[int, Field(ge=1, le=5)], ...] = setting(
        "Orders of the token n-gram models.", unit="tokens", default=(2, 5)
    )


class MambaShape(Spec):
    """Shape of a Mamba model with fresh weights; what is not here has transformers' default."""

    hidden_size: int = setting("Width of the residual stream.", default=256, ge=1)
    num_hidden_layers: int = setting("Blocks.", default=4, ge=1)
    state_size: int = setting("States of each channel.", default=16, ge=1)
    expand: int = setting("Inner channels as a multiple of the width.", default=2, ge=1)
    conv_kernel: int = setting("Width of the causal convolution.", unit="tokens", default=4, ge=1)
    time_step_rank: int | Literal["auto"] = setting(
        "Rank of the step projection; auto is a sixteenth of the width, rounded up.",
        default="auto",
    )
    initializer_range: float = setting(
        "Standard deviation of embeddings and projections.", default=0.1, gt=0
    )
    rescale_prenorm_residual: bool = setting(
        "Divide the output projections by the root of the number of blocks.", default=False
    )


class BertShape(Spec):
    """Shape of a BERT sentence classifier with fresh weights, by transformers' names."""

    hidden_size: int = setting("Width of the residual stream.", default=384, ge=1)
    intermediate_size: int = setting("Width of the feed-forward layers.", default=1536, ge=1)
    num_hidden_layers: int = setting("Blocks.", default=6, ge=1)
    num_attention_heads: int = setting("Attention heads of a block.", default=12, ge=1)
    max_position_embeddings: int = setting(
        "Longest text that the model reads.", unit="tokens", default=128, ge=3
    )
    num_labels: int = setting("Classes.", default=2, ge=2)
    initializer_range: float = setting(
        "Standard deviation of embeddings and projections.", default=0.02, gt=0
    )
    hidden_dropout_prob: Probability = setting(
        "Dropout of embeddings and of what a block adds to the residual stream.", default=0.1
    )
    attention_probs_dropout_prob: Probability = setting(
        "Dropout of attention probabilities.", default=0.1
    )

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> BertShape:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is no multiple of num_attention_heads "
                f"{self.num_attention_heads}"
            )
        return self


class InitModelSpec(Spec):
    """Settings of `init_model`: fresh weights, a folder of the user's, or a fetch from the hub."""

    source: str = setting(
        "`init:mamba` or `init:bert` (fresh weights), `path:DIR` (Hugging Face format) or "
        "`hub:ID`.",
        pattern=_MODEL_SOURCE,
    )
    revision: str | None = setting(
        "Commit of a hub model, from config/hub.lock.yaml; null takes the newest.",
        default=None,
        pattern=_COMMIT,
    )
    mamba: MambaShape | None = setting("Shape of fresh weights; null: the default.", default=None)
    bert: BertShape | None = setting("The same of `init:bert`.", default=None)
    seed: int = setting("Seed of fresh weights.", default=0, ge=0)
    pad_vocabulary_to: int = setting(
        "Embeddings are rounded up to a multiple of this many rows.",
        source="Mamba's own checkpoints (50,277 entries, 50,280 rows)",
        default=8,
        ge=1,
    )

    @model_validator(mode="after")
    def _fields_fit_the_source(self) -> InitModelSpec:
        if self.revision is not None and not self.source.startswith("hub:"):
            raise ValueError(f"revision belongs to hub: sources, and source is {self.source!r}")
        for name in ("mamba", "bert"):
            if getattr(self, name) is not None and self.source != f"init:{name}":
                raise ValueError(f"{name} belongs to init:{name}, and source is {self.source!r}")
        return self

    @property
    def fresh(self) -> bool:
        """Whether the weights are initialised here rather than fetched."""
        return self.source.startswith("init:")


class TokenizerSettings(TokenizerSpec):
    """A tokenizer by name: how it is made, and from what."""

    corpus: str | None = setting("Corpus that `train` learns from.", default=None)
    model: str | None = setting("Model whose tokenizer `model` takes.", default=None)
    classifier: str | None = setting("Classifier whose tokenizer `model` takes.", default=None)

    @model_validator(mode="after")
    def _origin_fits_the_source(self) -> TokenizerSettings:
        if self.model is not None and self.classifier is not None:
            raise ValueError("give a model or a classifier, not both")
        of_model = self.model if self.classifier is None else self.classifier
        for source, name in (("train", self.corpus), ("model", of_model)):
            if (self.source == source) != (name is not None):
                word = {"train": "corpus", "model": "model or classifier"}[source]
                raise ValueError(
                    f"{word} belongs to source {source!r}, and source is {self.source!r}"
                )
        return self


class ModelSettings(Spec):
    """A model by name: initial weights, text, tokenizer and training."""

    init: InitModelSpec = setting("Initial weights.")
    corpus: str = setting("Corpus it is trained and scored on.")
    tokenizer: str = setting("Its tokenizer.")
    training: TrainModelSpec = setting("Training; `tokens: 0` keeps the initial weights.")

    @property
    def fresh(self) -> bool:
        """Whether the weights are initialised here rather than fetched."""
        return self.init.fresh


class ClassifierSettings(Spec):
    """A sentence classifier by name: initial weights, labelled texts, tokenizer and training."""

    init: InitModelSpec = setting("Initial weights: a BERT, with or without a classifier head.")
    corpus: str = setting("Labelled corpus it is trained and scored on.")
    tokenizer: str = setting("Its tokenizer.")
    training: TrainClassifierSpec = setting("Training; `steps: 0` keeps the initial weights.")


class AssetsSpec(GraphAssetsSpec):
    """Corpora, tokenizers, models and graphs that several studies use, by name."""

    corpora: dict[str, CorpusSpec] = setting("Corpora.")
    tokenizers: dict[str, TokenizerSettings] = setting("Tokenizers.")
    tokens: TokensSpec = setting("Encoded corpora.", default=TokensSpec())
    baselines: BaselinesSpec = setting("Baselines.", default=BaselinesSpec())
    examples: ExamplesSpec = setting("Encoded labelled texts.", default=ExamplesSpec())
    models: dict[str, ModelSettings] = setting("Models.")
    classifiers: dict[str, ClassifierSettings] = setting("Sentence classifiers.", default={})

    @model_validator(mode="after")
    def _names_exist(self) -> AssetsSpec:
        for name, tokenizer in self.tokenizers.items():
            _known(f"tokenizers.{name}.corpus", tokenizer.corpus, self.corpora)
            _known(f"tokenizers.{name}.model", tokenizer.model, self.models)
            _known(f"tokenizers.{name}.classifier", tokenizer.classifier, self.classifiers)
        for name, model in self.models.items():
            _known(f"models.{name}.corpus", model.corpus, self.corpora)
            _known(f"models.{name}.tokenizer", model.tokenizer, self.tokenizers)
        for name, classifier in self.classifiers.items():
            _known(f"classifiers.{name}.corpus", classifier.corpus, self.corpora)
            _known(f"classifiers.{name}.tokenizer", classifier.tokenizer, self.tokenizers)
        return self

    def step_spec(self, step: str, wildcards: Mapping[str, str]) -> Spec:
        """Return exactly the settings that `step` reads; hub sources get their locked commit.

        Raises:
            UserError: A hub repository is not in the lock file, or `locked` refuses it.
        """
        match step:
            case "corpus":
                return self._pinned(self.corpora[wildcards["corpus"]], "dataset")
            case "init_model":
                return self._pinned(self.models[wildcards["model"]].init, "model")
            case "init_classifier":
                return self._pinned(self.classifiers[wildcards["classifier"]].init, "model")
            case "tokenizer":
                named = self.tokenizers[wildcards["tokenizer"]]
                return TokenizerSpec(source=named.source, vocabulary=named.vocabulary)
            case "train_model":
                return self.models[wildcards["model"]].training
            case "train_classifier":
                return self.classifiers[wildcards["classifier"]].training
            case "tokens":
                return self.tokens
            case "examples":
                return self.examples
        return self.graph_step_spec(step, wildcards) or self.baselines

    def _pinned(self, spec: CorpusSpec | InitModelSpec, kind: str) -> Spec:
        source = parse_source(spec.source, ("vendored", "path", "hub", "init"))
        if source.kind != "hub" or spec.revision is not None:
            return spec
        revision = read_lock().revision(kind, source.name, locked=self.locked)
        return spec.model_copy(update={"revision": revision})


def _known(key: str, name: str | None, names: Mapping[str, object]) -> None:
    if name is not None and name not in names:
        raise ValueError(f"{key}: no {name!r} among {', '.join(sorted(names))}")


SETTINGS = AssetsSpec
