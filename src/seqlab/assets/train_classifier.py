"""Train a BERT sentence classifier on an example folder and score it on the held-out split.

Inputs: a model folder (initial weights, tokenizer), an example folder, its corpus. Output: a model
folder that transformers opens, with `training.json` (held-out accuracy and F1 beside those of the
majority class and of a bag of words, evaluations, cost) and `curve.csv` (every optimiser step).
With a length of zero the weights are those of the input.
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
from seqlab.training.classifier_spec import TrainClassifierSpec

if TYPE_CHECKING:
    import numpy as np
    from transformers import BertForSequenceClassification

    from seqlab.training.checkpoint import Checkpoints
    from seqlab.training.classify import Classified
    from seqlab.training.distributed import World
    from seqlab.training.loop import TrainResult

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)

log = logging.getLogger("seqlab.training")


def train_classifier(
    spec: TrainClassifierSpec,
    *,
    init: In,
    examples: In,
    corpus: In,
    state: State,
    out: Out,
    context: Context,
) -> None:
    """Train a classifier, or pass it on unchanged if its length is zero, and score it.

    Under `torchrun` the processes share each batch, and the first one writes.

    Raises:
        UserError: An input is missing or damaged, model and examples do not fit, a model without a
            trained head is to be passed on, training diverged, or another process trains this
            classifier now.
        Terminated: SIGTERM; checkpoints are in `state`, and the same command goes on from there.
    """
    from seqlab.provenance.environment import environment
    from seqlab.training.checkpoint import Checkpoints, run_identity
    from seqlab.training.distributed import launched_world

    device = context.torch_device()
    with launched_world(device) as world:
        model = _load(spec, init, examples, device)
        checkpoints, result = Checkpoints(state, {}), None
        if spec.train.steps:
            identity = run_identity(spec, context.code, {"init": init, "examples": examples})
            checkpoints = Checkpoints(state, identity)
            result = _train(model, spec, examples, checkpoints, world)
        if world.leader:
            scores = _score(model, spec, examples, "test")
            summary = _summary(model, spec, result, scores)
            summary["baselines"] = _baselines(corpus, examples)
            log.info("held-out accuracy: %.4f", summary["held_out"]["accuracy"])
            summary["environment"] = environment(spec, context.code, context.threads)
            _write(out, model, result, summary, init)
            checkpoints.clear()


def _load(
    spec: TrainClassifierSpec, init: Path, examples: Path, device: str
) -> BertForSequenceClassification:
    from seqlab.data.examples import example_index
    from seqlab.models.classifier import load_classifier, load_for_fine_tuning

    index = example_index(examples)
    if spec.train.steps:
        model = load_for_fine_tuning(init, device, index["classes"], spec.head_seed)
    else:
        model = load_classifier(init, device)
    config = model.config
    for name, needed, given in (
        ("tokens go up to", index["vocabulary"], config.vocab_size),
        ("examples are as long as", index["length"], config.max_position_embeddings),
        ("labels are of", index["classes"], config.num_labels),
    ):
        if needed > given:
            raise UserError(
                f"{name} {needed}, the model knows {given}",
                where=str(examples),
                fix="use examples of the model's tokenizer, length and classes",
            )
    return model


def _train(
    model: BertForSequenceClassification,
    spec: TrainClassifierSpec,
    examples: Path,
    checkpoints: Checkpoints,
    world: World,
) -> TrainResult:
    from seqlab.data.example_batches import ExampleBatches
    from seqlab.data.examples import load_examples
    from seqlab.training.classify import as_tensors, classification_loss
    from seqlab.training.loop import Job, train

    seen = load_examples(examples, "train")
    batches = ExampleBatches(seen, spec.batch, spec.pool, spec.data_seed)
    job = Job(
        batch_at=lambda step: as_tensors(batches.batch_at(step)),
        loss_fn=classification_loss,
        checkpoints=checkpoints,
        world=world,
    )
    if spec.train.evaluate_every is not None:
        # Selection sees the validation split only; the test split is scored once, at the end.
        job = replace(job, evaluate=lambda m: _score(m, spec, examples, "validation").metrics())
    result = train(model, spec.train, job)
    if spec.train.patience is not None:
        result.best.load_into(model)
    return result


def _score(model: Any, spec: TrainClassifierSpec, examples: Path, split: str) -> Classified:
    from seqlab.data.examples import load_examples
    from seqlab.training.classify import evaluate_examples

    return evaluate_examples(
        model,
        load_examples(examples, split),
        batch_tokens=spec.evaluate_tokens,
        precision=spec.train.precision,
    )


def _baselines(corpus: Path, examples: Path) -> dict[str, dict[str, float]]:
    """Return accuracy and F1 of what the classifier has to beat, on the same held-out split."""
    import numpy as np

    from seqlab.data.bag_of_words import bag_of_words, majority_class
    from seqlab.data.corpus import texts
    from seqlab.data.examples import load_examples
    from seqlab.training.classify import class_metrics

    def labelled(split: str) -> tuple[list[str], np.ndarray]:
        labels = load_examples(examples, split).labels
        found = list(texts(corpus, split))
        if len(found) != len(labels):
            raise UserError(
                f"{split}: {len(labels)} examples, {len(found)} documents",
                where=str(examples),
                fix="use examples of the same corpus",
            )
        return found, labels

    train, held_out = labelled("train"), labelled("test")
    words = bag_of_words(train, labelled("validation"), held_out[0])
    majority = np.full(len(held_out[1]), majority_class(train[1]))
    return {
        "majority_class": class_metrics(majority, held_out[1]),
        "bag_of_words": {
            **class_metrics(words.predictions, held_out[1]),
            "strength": words.strength,
            "words": words.words,
        },
    }


def _summary(
    model: BertForSequenceClassification,
    spec: TrainClassifierSpec,
    result: TrainResult | None,
    scores: Classified,
) -> dict[str, Any]:
    """Return `training.json`; the seconds are apart from what is the same on every run."""
    summary: dict[str, Any] = {
        "schema": 1,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "held_out": {**scores.metrics(), "examples": len(scores.labels)},
        "steps": 0,
        "examples": 0,
        "stopped": "not trained",
        "evaluations": [],
        "seconds": {},
    }
    if result is not None:
        summary |= {
            "steps": result.steps,
            "examples": result.steps * spec.batch,
            "stopped": result.stopped,
            "final_loss": float(result.curve["loss"][-max(1, result.steps // 20) :].mean()),
            "evaluations": result.evaluations,
            "best_step": result.best.step,
            "seconds": result.seconds,
            "resumed_from": result.resumed_from,
        }
    return summary


def _write(
    out: Path,
    model: BertForSequenceClassification,
    result: TrainResult | None,
    summary: dict[str, Any],
    init: Path,
) -> None:
    from seqlab.data.weights import link_weights
    from seqlab.models.classifier import save_classifier
    from seqlab.provenance.atomic import atomic_folder, write_json, write_text
    from seqlab.training.curve import Curve

    with atomic_folder(out) as folder:
        if result is None:
            link_weights(init, folder)
        else:
            save_classifier(model, folder)
        # Where the initial weights are from, and if a rehearsal made them, holds for these too.
        for name in (*_TOKENIZER_FILES, SOURCE_FILE):
            if (init / name).is_file():
                shutil.copyfile(init / name, folder / name)
        curve = Curve() if result is None else result.curve
        write_text(folder / "curve.csv", curve.to_csv())
        write_json(folder / "training.json", summary)
