"""Shape of a Mamba language model, in the names of transformers' MambaConfig."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from seqlab.errors import UserError


@dataclass(frozen=True)
class MambaConfig:
    """Fields and defaults of transformers' MambaConfig that change what the model computes.

    Attributes:
        vocab_size: Number of tokens V.
        hidden_size: Width H of the residual stream.
        state_size: States N of each channel.
        num_hidden_layers: Number of blocks.
        layer_norm_epsilon: Added to the mean square in each norm.
        pad_token_id, bos_token_id, eos_token_id: Special tokens, or None.
        expand: Inner channels I as a multiple of H.
        conv_kernel: Width K of the causal convolution.
        use_bias: Biases in in_proj and out_proj.
        use_conv_bias: Bias in the convolution.
        hidden_act: Activation; only "silu" exists here.
        initializer_range: Standard deviation of embeddings and projections at initialisation.
        residual_in_fp32: Keep the residual stream in float32 when the weights are narrower.
        time_step_rank: Rank R of the step projection, or "auto" for ceil(H / 16).
        time_step_scale, time_step_min, time_step_max, time_step_floor, time_step_init_scheme:
            Initialisation of the step projection.
        rescale_prenorm_residual: Divide out_proj by the root of the number of layers at
            initialisation.
        tie_word_embeddings: One matrix for embeddings and head.
        inner_sizes: Inner channels of each layer where they differ (a physically pruned model),
            else None. Not a field of transformers, which cannot open such a model.

    Raises:
        UserError: A size is below one, or a value is not supported.
    """

    vocab_size: int = 50280
    hidden_size: int = 768
    state_size: int = 16
    num_hidden_layers: int = 32
    layer_norm_epsilon: float = 1e-5
    pad_token_id: int | None = 0
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 0
    expand: float = 2
    conv_kernel: int = 4
    use_bias: bool = False
    use_conv_bias: bool = True
    hidden_act: str = "silu"
    initializer_range: float = 0.1
    residual_in_fp32: bool = True
    time_step_rank: int | str = "auto"
    time_step_scale: float = 1.0
    time_step_min: float = 0.001
    time_step_max: float = 0.1
    time_step_init_scheme: str = "random"
    time_step_floor: float = 1e-4
    rescale_prenorm_residual: bool = False
    tie_word_embeddings: bool = True
    inner_sizes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "hidden_size", "state_size", "num_hidden_layers", "conv_kernel")
        for name in sizes:
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.hidden_act != "silu":
            raise UserError(f"hidden_act {self.hidden_act!r} is not supported", fix="use 'silu'")
        if self.time_step_init_scheme not in ("random", "constant"):
            raise UserError(
                f"time_step_init_scheme {self.time_step_init_scheme!r} is unknown",
                fix="use 'random' or 'constant'",
            )
        if self.time_step_rank != "auto" and not isinstance(self.time_step_rank, int):
            raise UserError(f"time_step_rank {self.time_step_rank!r} is no number nor 'auto'")
        if self.inner_sizes is not None and len(self.inner_sizes) != self.num_hidden_layers:
            raise UserError(
                f"inner_sizes has {len(self.inner_sizes)} entries for "
                f"{self.num_hidden_layers} layers"
            )

    @property
    def intermediate_size(self) -> int:
        """Inner channels of a layer, where all layers have as many."""
        return int(self.expand * self.hidden_size)

    @property
    def step_rank(self) -> int:
        """Rank of the step projection as a number."""
        if isinstance(self.time_step_rank, int):
            return self.time_step_rank
        return math.ceil(self.hidden_size / 16)

    def inner_size(self, layer: int) -> int:
        """Return the inner channels of one layer."""
        return self.intermediate_size if self.inner_sizes is None else self.inner_sizes[layer]

    @classmethod
    def from_hf_dict(cls, values: Mapping[str, Any], where: str = "config.json") -> MambaConfig:
        """Read the fields out of a transformers `config.json`; fields of no effect are passed over.

        Raises:
            UserError: The model type is not mamba, or a value is not supported.
        """
        kind = values.get("model_type")
        if kind != "mamba":
            raise UserError(
                f"model_type is {kind!r}", where=where, fix="give a folder of a Mamba model"
            )
        known = {field.name for field in fields(cls)}
        chosen = {name: value for name, value in values.items() if name in known}
        if chosen.get("inner_sizes") is not None:
            chosen["inner_sizes"] = tuple(chosen["inner_sizes"])
        return cls(**chosen)

    def to_hf_dict(self) -> dict[str, Any]:
        """Return the content of a `config.json` that transformers opens as MambaForCausalLM."""
        values: dict[str, Any] = {
            "architectures": ["MambaForCausalLM"],
            "model_type": "mamba",
            "dtype": "float32",
            "use_cache": True,
            "intermediate_size": self.intermediate_size,
        }
        values.update({field.name: getattr(self, field.name) for field in fields(self)})
        values["time_step_rank"] = self.step_rank
        if self.inner_sizes is None:
            del values["inner_sizes"]
        else:
            values["inner_sizes"] = list(self.inner_sizes)
        return values
