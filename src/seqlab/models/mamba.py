"""Mamba language model (Gu and Dao 2023) with the parameter names of transformers.

Every projection is called as a module, so that a quantised or adapted layer can take its place.
Each mixer has room for a gate on its inner channels and for an observer of its states.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from seqlab.kernels.conv import causal_conv_silu
from seqlab.kernels.cross_entropy import IGNORED, cross_entropy
from seqlab.kernels.linear import linear
from seqlab.kernels.norm import rms_norm
from seqlab.kernels.scan_reference import StateObserver
from seqlab.kernels.selective_scan import resolve_backend, selective_scan
from seqlab.models.mamba_config import MambaConfig
from seqlab.models.state import MambaState


@dataclass
class CausalLMOutput:
    """What a language model returns.

    Attributes:
        logits: Scores (B, T, V), or None if the caller did not want them.
        loss: Mean cross-entropy of the next token in nats, or None without labels.
    """

    logits: Tensor | None
    loss: Tensor | None


class Projection(nn.Linear):
    """A linear layer whose products take the fastest way of the machine."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x weight^T + bias; x is (..., in_features)."""
        return linear(x, self.weight, self.bias)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with one scale per channel."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon
        self.backend = "numba"

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., width)."""
        return rms_norm(x, self.weight, self.epsilon, self.backend)


class MambaMixer(nn.Module):
    """The selective state-space mixer of one layer.

    Attributes:
        channel_gate: Module applied to the inner channels (B, T, I) after convolution and SiLU,
            or None. There a channel gated to zero can be removed without changing the output: it
            reaches neither the step, nor B and C, nor the scan.
        state_observer: Called as `observer(t, h)` with each state (B, I, N), or None. Runs the
            reference scan while set.
        scan_backend: Name given to `selective_scan`.
    """

    def __init__(self, config: MambaConfig, layer_idx: int) -> None:
        super().__init__()
        hidden, states, rank = config.hidden_size, config.state_size, config.step_rank
        inner = config.inner_size(layer_idx)
        self.layer_idx = layer_idx
        self.in_proj = Projection(hidden, 2 * inner, bias=config.use_bias)
        self.conv1d = nn.Conv1d(
            inner,
            inner,
            config.conv_kernel,
            groups=inner,
            padding=config.conv_kernel - 1,
            bias=config.use_conv_bias,
        )
        self.x_proj = Projection(inner, rank + 2 * states, bias=False)
        self.dt_proj = Projection(rank, inner)
        self.A_log = nn.Parameter(torch.zeros(inner, states))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = Projection(inner, hidden, bias=config.use_bias)
        self.channel_gate: nn.Module | None = None
        self.state_observer: StateObserver | None = None
        self.scan_backend = "numba"

    def forward(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None = None,
        state: MambaState | None = None,
    ) -> Tensor:
        """Mix (B, T, H) over time.

        Args:
            hidden: Normalised inputs.
            attention_mask: (B, T), zero at padding, which is kept out of convolution and scan as
                transformers does it.
            state: Where to continue from; advanced to after the last token.
        """
        if state is None:
            return self.mix(hidden, attention_mask)[0]
        past, before = state.conv[self.layer_idx], state.ssm[self.layer_idx]
        y, x, last = self.mix(hidden, attention_mask, past, before)
        state.conv[self.layer_idx] = convolved_last(x, past.to(x.dtype))
        state.ssm[self.layer_idx] = last.to(before.dtype)
        return y

    def mix(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None = None,
        past: Tensor | None = None,
        before: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mix (B, T, H) over time without keeping anything.

        Args:
            hidden: As for `forward`.
            attention_mask: As for `forward`.
            past: Last inputs of the convolution (B, I, K); zeros at the start of a sequence.
            before: State of the scan (B, I, N); None at the start.

        Returns:
            The output (B, T, H), the inputs of the convolution (B, T, I) and the state of the scan
            after the last token.
        """
        inner, states = self.A_log.shape
        projected = self.in_proj(_masked(hidden, attention_mask))
        x, z = projected.split(inner, -1)
        u = _masked(self._convolve(x, past), attention_mask)
        if self.channel_gate is not None:
            u = self.channel_gate(u)
        selected = self.x_proj(u)
        step, b, c = selected.split([selected.shape[-1] - 2 * states, states, states], -1)
        wide = torch.promote_types(self.A_log.dtype, torch.float32)
        y, last = selective_scan(
            u,
            self.dt_proj(step),
            -torch.exp(self.A_log.to(wide)),
            b,
            c,
            d=self.D,
            z=z,
            initial_state=before,
            observer=self.state_observer,
            backend="torch" if self.state_observer is not None else self.scan_backend,
        )
        return self.out_proj(y), x, last

    def _convolve(self, x: Tensor, past: Tensor | None) -> Tensor:
        weight, bias = self.conv1d.weight[:, 0], self.conv1d.bias
        if past is None:
            return causal_conv_silu(x, weight, bias, self.scan_backend)
        joined = torch.cat([past.transpose(1, 2).to(x.dtype), x], 1)
        return causal_conv_silu(joined, weight, bias, self.scan_backend)[:, past.shape[2] :]


def convolved_last(x: Tensor, past: Tensor) -> Tensor:
    """Return the last K inputs of a convolution, (B, I, K), of `past` (B, I, K) and x (B, T, I)."""
    width = past.shape[2]
    new = x[:, max(0, x.shape[1] - width) :].transpose(1, 2)
    return torch.cat((past[:, :, new.shape[2] :], new), 2)


def _masked(x: Tensor, attention_mask: Tensor | None) -> Tensor:
    return x if attention_mask is None else (x * attention_mask[..., None]).to(x.dtype)


class MambaBlock(nn.Module):
    """Norm, mixer and residual connection.

    Attributes:
        gradient_checkpointing: Recompute the mixer in the backward instead of keeping its
            activations.
    """

    def __init__(self, config: MambaConfig, layer_idx: int) -> None:
        super().__init__()
        self.norm = RMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.mixer = MambaMixer(config, layer_idx)
        self.residual_in_fp32 = config.residual_in_fp32
        self.gradient_checkpointing = False

    def forward(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None = None,
        state: MambaState | None = None,
    ) -> Tensor:
        """Return hidden + mixer(norm(hidden)); see `MambaMixer.forward`."""
        if self.gradient_checkpointing and torch.is_grad_enabled() and state is None:
            mixed = checkpoint(self._mix, hidden, attention_mask, None, use_reentrant=False)
        else:
            mixed = self._mix(hidden, attention_mask, state)
        if self.residual_in_fp32:
            hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        return hidden + mixed

    def _mix(
        self, hidden: Tensor, attention_mask: Tensor | None, state: MambaState | None
    ) -> Tensor:
        return self.mixer(self.norm(hidden.to(self.norm.weight.dtype)), attention_mask, state)


class MambaModel(nn.Module):
    """Embeddings, blocks and the last norm."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        # The default weights of nn.Embedding; its own way to draw them loads all of torch._dynamo
        # where the device is meta, a second in every process that loads a model.
        table = torch.randn(config.vocab_size, config.hidden_size)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size, _weight=table)
        self.layers = nn.ModuleList(
            MambaBlock(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.norm_f = RMSNorm(config.hidden_size, config.layer_norm_epsilon)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        state: MambaState | None = None,
    ) -> Tensor:
        """Return the last hidden states (B, T, H) of tokens (B, T)."""
        hidden = self.embeddings(input_ids)
        for block in self.layers:
            hidden = block(hidden, attention_mask, state)
        return self.norm_f(hidden)


class MambaForCausalLM(nn.Module):
    """Mamba with a language-modelling head; weights as in transformers' class of this name.

    A new model has PyTorch's default weights: give it those of `init_weights` or of a folder.

    Attributes:
        config: The shape.
        scan_backend: The backend that the scans run on, as resolved for device and type. It is
            resolved again when the device or the type of the weights changes.
    """

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = MambaModel(config)
        self.lm_head = Projection(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.tie_weights()
        self._wanted_backend: str | None = None
        self.scan_backend: str = ""
        set_scan_backend(self, None)

    def tie_weights(self) -> None:
        """Let the head use the matrix of the embeddings."""
        self.lm_head.weight = self.backbone.embeddings.weight

    def _apply(self, fn: Any, recurse: bool = True) -> MambaForCausalLM:
        super()._apply(fn, recurse)
        set_scan_backend(self, self._wanted_backend)
        return self

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        state: MambaState | None = None,
        return_logits: bool = True,
    ) -> CausalLMOutput:
        """Score the next token at each position.

        Args:
            input_ids: Tokens (B, T).
            labels: Tokens (B, T), not shifted; position t is scored on label t + 1. -100 is
                left out.
            attention_mask: (B, T), zero at padding.
            state: State of a prefix; advanced to after the last token.
            return_logits: False leaves them out of the output.

        Returns:
            Logits in at least float32, and the loss if there are labels.
        """
        hidden = self.backbone(input_ids, attention_mask, state)
        logits = self.lm_head(hidden.to(self.lm_head.weight.dtype))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = None
        if labels is not None:
            targets = functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
            loss = cross_entropy(logits, targets, self.scan_backend)
        return CausalLMOutput(logits if return_logits else None, loss)

    def blocks(self) -> Iterator[MambaBlock]:
        """Yield the blocks, first layer first."""
        return cast("Iterator[MambaBlock]", iter(self.backbone.layers))

    def mixers(self) -> Iterator[MambaMixer]:
        """Yield the mixers, first layer first."""
        for block in self.blocks():
            yield block.mixer


def set_scan_backend(model: MambaForCausalLM, name: str | None) -> None:
    """Choose the backend of the scans, and of the kernels around them, by name.

    `model.scan_backend` then holds what runs, which is another name where the device or the type
    of the weights cannot run the one asked for. None stands for the best of the device.

    Raises:
        UserError: No such backend, or it is not installed.
    """
    weight = model.backbone.norm_f.weight
    resolved = resolve_backend(name, weight.device, weight.dtype)
    model._wanted_backend = name
    model.scan_backend = resolved
    for module in model.modules():
        if isinstance(module, MambaMixer):
            module.scan_backend = resolved
        elif isinstance(module, RMSNorm):
            module.backend = resolved


def set_gradient_checkpointing(model: MambaForCausalLM, enabled: bool) -> None:
    """Turn recomputation in the backward on or off in every block."""
    for block in model.blocks():
        block.gradient_checkpointing = enabled
