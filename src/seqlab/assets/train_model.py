"""Train a causal language model on a token folder and score it on the held-out text.

Inputs: a model folder (initial weights), a token folder, a tokenizer folder. Output: a model folder
that transformers opens, with `training.json` (held-out bits per byte, evaluations, cost) and
`curve.csv` (every optimiser step). With a length of zero the weights are those of the input.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqlab.data.sources import SOURCE_FILE
from seqlab.errors import UserError
from seqlab.spec import Context, In, Out, State
from seqlab.training.spec import TrainModelSpec

if TYPE_CHECKING:
    from seqlab.models.mamba import MambaForCausalLM
    from seqlab.training.checkpoint import Checkpoints
    from seqlab.training.distributed import World
    from seqlab.training.evaluate import HeldOut
    from seqlab.training.loop import TrainResult

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")

log = logging.getLogger("seqlab.training")


def train_model(
    spec: TrainModelSpec,
    *,
    init: In,
    tokens: In,
    tokenizer: In,
    state: State,
    out: Out,
    context: Context,
) -> None:
    """Train a causal language model, or pass it on unchanged if its length is zero, and score it.

    Under `torchrun` the processes share each batch, and the first one writes.

    Raises:
        UserError: An input is missing or damaged, model and tokens do not fit, training diverged,
            or another process trains this model now.
        Terminated: SIGTERM; checkpoints are in `state`, and the same command goes on from there.
    """
    import torch

    from seqlab.models.pretrained import load_causal_lm
    from seqlab.provenance.environment import environment
    from seqlab.training.checkpoint import Checkpoints, run_identity
    from seqlab.training.distributed import launched_world

    device = _device(context.device)
    with launched_world(device) as world:
        model = load_causal_lm(init, torch.device(device))
        _check_vocabulary(model, tokens)
        steps = spec.train.total_steps(spec.batch * spec.length)
        checkpoints, result = Checkpoints(state, {}), None
        if steps:
            identity = run_identity(spec, context.code, {"init": init, "tokens": tokens})
            checkpoints = Checkpoints(state, identity)
            result = _train(model, spec, tokens, checkpoints, world)
        if world.leader:
            scores = _score(model, spec, tokens, "test")
            log.info("held-out text: %.4f bits per byte", scores.bits_per_byte)
            summary = _summary(model, spec, result, scores)
            summary["environment"] = environment(spec, context.code, context.threads)
            _write(out, model, result, summary, init, tokenizer)
            checkpoints.clear()


def _device(wanted: str) -> str:
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda is not available here", fix="set device to cpu or auto")
    return wanted


def _check_vocabulary(model: MambaForCausalLM, tokens: Path) -> None:
    from seqlab.data.tokens import token_index

    vocabulary = token_index(tokens)["vocabulary"]
    if vocabulary > model.config.vocab_size:
        raise UserError(
            f"tokens go up to {vocabulary}, the model knows {model.config.vocab_size}",
            where=str(tokens),
            fix="use tokens and model of the same tokenizer",
        )


def _train(
    model: MambaForCausalLM,
    spec: TrainModelSpec,
    tokens: Path,
    checkpoints: Checkpoints,
    world: World,
) -> TrainResult:
    import torch

    from seqlab.data.batches import TokenBatches
    from seqlab.data.tokens import load_tokens
    from seqlab.training.loop import Job, train
    from seqlab.training.losses import next_token_loss

    batches = TokenBatches(load_tokens(tokens, "train"), spec.length, spec.batch, spec.data_seed)
    job = Job(
        batch_at=lambda step: torch.from_numpy(batches.batch_at(step)),
        loss_fn=next_token_loss,
        checkpoints=checkpoints,
        tokens_per_step=spec.batch * spec.length,
        world=world,
    )
    if spec.train.evaluate_every is not None:
        # Selection sees the validation split only; the test split is scored once, at the end.
        job = replace(job, evaluate=lambda m: _score(m, spec, tokens, "validation").metrics())
    result = train(model, spec.train, job)
    if spec.train.patience is not None:
        result.best.load_into(model)
    return result


def _score(model: Any, spec: TrainModelSpec, tokens: Path, split: str) -> HeldOut:
    from seqlab.data.tokens import load_tokens
    from seqlab.training.evaluate import evaluate_text

    text = load_tokens(tokens, split)
    return evaluate_text(
        model,
        text.ids,
        text.token_bytes,
        length=spec.evaluate_length,
        batch_tokens=spec.evaluate_tokens,
        precision=spec.train.precision,
    )


def _write(
    out: Path,
    model: MambaForCausalLM,
    result: TrainResult | None,
    summary: dict[str, Any],
    init: Path,
    tokenizer: Path,
) -> None:
    from seqlab.data.weights import link_weights
    from seqlab.models.pretrained import save_causal_lm
    from seqlab.provenance.atomic import atomic_folder, write_json, write_text
    from seqlab.training.curve import Curve

    with atomic_folder(out) as folder:
        if result is None:
            link_weights(init, folder)
        else:
            save_causal_lm(model, folder)
        for name in _TOKENIZER_FILES:
            if (tokenizer / name).is_file():
                shutil.copyfile(tokenizer / name, folder / name)
        # Where the initial weights are from, and if a rehearsal made them, holds for these too.
        if (init / SOURCE_FILE).is_file():
            shutil.copyfile(init / SOURCE_FILE, folder / SOURCE_FILE)
        curve = Curve() if result is None else result.curve
        write_text(folder / "curve.csv", curve.to_csv())
        write_json(folder / "training.json", summary)


def _summary(
    model: MambaForCausalLM,
    spec: TrainModelSpec,
    result: TrainResult | None,
    scores: HeldOut,
) -> dict[str, Any]:
    """Return `training.json`; the seconds are apart from what is the same on every run."""
    summary: dict[str, Any] = {
        "schema": 1,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "scan_backend": model.scan_backend,
        "held_out": {
            **scores.metrics(),
            "tokens": int(scores.tokens.sum()),
            "bytes": int(scores.bytes.sum()),
            "windows": len(scores.nll),
        },
        "steps": 0,
        "tokens": 0,
        "stopped": "not trained",
        "evaluations": [],
        "seconds": {},
    }
    if result is not None:
        summary |= {
            "steps": result.steps,
            "tokens": result.steps * spec.batch * spec.length,
            "stopped": result.stopped,
            "final_loss": float(result.curve["loss"][-max(1, result.steps // 20) :].mean()),
            "evaluations": result.evaluations,
            "best_step": result.best.step,
            "seconds": result.seconds,
            "resumed_from": result.resumed_from,
        }
    return summary
