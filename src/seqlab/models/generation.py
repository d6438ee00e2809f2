"""Greedy generation: the prompt in one pass, then one token at a time from the recurrent state.

Two backends produce the tokens, named by `decode_backend`:

- `numba`: the whole loop in one fused kernel, for plain float32 linear layers on CPU;
- `modules`: through the model's own modules, for everything else (quantised or adapted
  projections, channel gates, observers, hooks, other types, other devices).
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.kernels.decode import FusedDecoder, LayerWeights
from seqlab.models.mamba import MambaBlock, MambaForCausalLM, MambaMixer, Projection, RMSNorm
from seqlab.models.state import MambaState

DecodeBackend = Literal["numba", "modules"]
_LINEAR = (nn.Linear, Projection)


def new_state(model: MambaForCausalLM, batch: int) -> MambaState:
    """Return the state of `batch` sequences before their first token."""
    weight = model.backbone.norm_f.weight
    channels = [mixer.A_log.shape[0] for mixer in model.mixers()]
    kernel, states = model.config.conv_kernel, model.config.state_size
    return MambaState.zeros(
        batch, channels, kernel, states, dtype=weight.dtype, device=weight.device
    )


@torch.inference_mode()
def prefill(model: MambaForCausalLM, input_ids: Tensor, state: MambaState) -> Tensor:
    """Feed a prompt through the model's modules; the head sees its last position only.

    Args:
        model: Any Mamba model, its projections possibly replaced.
        input_ids: (B, T) int64.
        state: Advanced by the prompt.

    Returns:
        The logits (B, V) of the next token.
    """
    hidden = model.backbone(input_ids, state=state)[:, -1]
    logits = model.lm_head(hidden.to(model.backbone.norm_f.weight.dtype))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@torch.inference_mode()
def decode_step(model: MambaForCausalLM, token_ids: Tensor, state: MambaState) -> Tensor:
    """Feed one token per sequence through the model's modules.

    Args:
        model: Any Mamba model, its projections possibly replaced.
        token_ids: (B,) int64.
        state: Advanced by the token.

    Returns:
        The logits (B, V) of the next token.
    """
    return prefill(model, token_ids[:, None], state)


def decode_backend(model: MambaForCausalLM) -> DecodeBackend:
    """Return the backend `greedy_decode` uses for this model as it is now."""
    return "numba" if why_not_fused(model) is None else "modules"


def why_not_fused(model: MambaForCausalLM) -> str | None:
    """Return why the fused kernel cannot decode this model; None where it can."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
            return f"{name} is {tensor.dtype} on {tensor.device.type}"
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            return f"{name} has a forward hook"
        if isinstance(module, MambaMixer):
            reason = _unusual_mixer(module)
            if reason is not None:
                return f"{name}{reason}"
        if name.endswith(("norm", "norm_f")) and type(module) is not RMSNorm:
            return f"{name} is a {type(module).__name__}"
    if type(model.lm_head) not in _LINEAR or model.lm_head.bias is not None:
        return "lm_head is not a plain linear layer without bias"
    return None


def _unusual_mixer(mixer: MambaMixer) -> str | None:
    if type(mixer) is not MambaMixer:
        return f" is a {type(mixer).__name__}"
    for name in ("in_proj", "x_proj", "dt_proj", "out_proj"):
        if type(getattr(mixer, name)) not in _LINEAR:
            return f".{name} is a {type(getattr(mixer, name)).__name__}"
    if mixer.x_proj.bias is not None:
        return ".x_proj has a bias"
    if type(mixer.conv1d) is not nn.Conv1d:
        return f".conv1d is a {type(mixer.conv1d).__name__}"
    if mixer.channel_gate is not None:
        return " has a channel gate"
    if mixer.state_observer is not None:
        return " has a state observer"
    return None


@torch.inference_mode()
def greedy_decode(
    model: MambaForCausalLM,
    prompt_ids: Tensor,
    max_new_tokens: int,
    backend: DecodeBackend | None = None,
) -> Tensor:
    """Continue prompts with the most likely token, again and again.

    Args:
        model: The model; training mode makes no difference to Mamba.
        prompt_ids: (B, T) int64, T >= 1, all of one length.
        max_new_tokens: Tokens to add; an end-of-text token does not stop the others.
        backend: None for `decode_backend(model)`.

    Returns:
        The new tokens (B, max_new_tokens); of equally likely ones the first.

    Raises:
        UserError: The fused backend was asked for and cannot run this model; the reason is named.
        ValueError: An empty prompt, or no tokens asked for.
    """
    if prompt_ids.ndim != 2 or min(prompt_ids.shape) < 1 or max_new_tokens < 1:
        raise ValueError(f"cannot add {max_new_tokens} tokens to {tuple(prompt_ids.shape)}")
    reason = why_not_fused(model)
    if backend == "numba" and reason is not None:
        raise UserError(f"the fused decoder cannot run this model: {reason}", fix="use 'modules'")
    state = new_state(model, prompt_ids.shape[0])
    tokens = prefill(model, prompt_ids, state).argmax(-1)
    if max_new_tokens == 1:
        return tokens[:, None]
    if backend == "modules" or reason is not None:
        found = [tokens]
        for _ in range(max_new_tokens - 1):
            found.append(decode_step(model, found[-1], state).argmax(-1))
        return torch.stack(found, 1)
    decoder = fused_decoder(model)
    decoder.load_state(state.conv, state.ssm)
    return torch.cat([tokens[:, None], decoder.advance(tokens, max_new_tokens - 1)], 1)


def fused_decoder(model: MambaForCausalLM) -> FusedDecoder:
    """Pack the weights of a plain float32 CPU model for the fused kernel (a copy of them).

    Raises:
        UserError: The fused kernel cannot decode this model.
    """
    reason = why_not_fused(model)
    if reason is not None:
        raise UserError(f"the fused decoder cannot run this model: {reason}", fix="use 'modules'")
    backbone = model.backbone
    with torch.no_grad():
        blocks = [cast(MambaBlock, block) for block in backbone.layers]
        layers = [_layer_weights(block.norm, block.mixer) for block in blocks]
        return FusedDecoder(
            layers,
            backbone.embeddings.weight.detach(),
            backbone.norm_f.weight.detach(),
            model.lm_head.weight.detach(),
            backbone.norm_f.epsilon,
        )


def _layer_weights(norm: RMSNorm, mixer: MambaMixer) -> LayerWeights:
    return LayerWeights(
        norm=norm.weight,
        in_proj=mixer.in_proj.weight,
        in_bias=mixer.in_proj.bias,
        conv=mixer.conv1d.weight[:, 0],
        conv_bias=mixer.conv1d.bias,
        x_proj=mixer.x_proj.weight,
        dt_proj=mixer.dt_proj.weight,
        dt_bias=mixer.dt_proj.bias,
        a=-torch.exp(mixer.A_log),
        skip=mixer.D,
        out_proj=mixer.out_proj.weight,
        out_bias=mixer.out_proj.bias,
    )
