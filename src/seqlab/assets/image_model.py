"""Step: a ResNet: random weights, the user's own, or a fetch from the hub.

One of the steps that may use a network. There are no labelled images at any scale: images are
random, and serve latency, layout and checks of equality only.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from seqlab.assets.graph_spec import ImageModelSpec, ResNetShape
from seqlab.assets.init_model import init_model
from seqlab.assets.spec import InitModelSpec
from seqlab.data.sources import SOURCE_FILE, Origin, read_origin, write_origin
from seqlab.errors import UserError
from seqlab.provenance.atomic import atomic_folder
from seqlab.provenance.hashing import tree_files
from seqlab.spec import Out

if TYPE_CHECKING:
    from torch import Tensor

# Seed of the calibration images, apart from that of the weights.
_IMAGES = 1

log = logging.getLogger(__name__)


def image_model(spec: ImageModelSpec, *, out: Out) -> None:
    """Write a Hugging Face folder of transformers' `ResNetForImageClassification`.

    Random weights get running statistics from random images: without, activations grow with every
    block. Weights in torchvision's names are renamed, and keep every value.

    Args:
        spec: Where the weights are from.
        out: Model folder, with `source.json`.

    Raises:
        UserError: The source is missing, damaged, not reachable or no ResNet.
    """
    if spec.source == "init:resnet":
        _fresh(spec, out)
        return
    given = out.with_name(f".{out.name}.given")
    init_model(InitModelSpec(source=spec.source, revision=spec.revision), tokenizer=[], out=given)
    _as_transformers(given, out)
    shutil.rmtree(given)


def _fresh(spec: ImageModelSpec, out: Path) -> None:
    import numpy as np
    from transformers import ResNetConfig

    from seqlab.models.resnet import calibrate, fresh_resnet, random_images

    shape = spec.resnet or ResNetShape()
    config = ResNetConfig(**shape.model_dump(mode="json"))
    model = fresh_resnet(config, spec.seed)
    (seed,) = np.random.SeedSequence((spec.seed, _IMAGES)).generate_state(1)
    images = random_images(spec.calibration_images, spec.image_size, config.num_channels, int(seed))
    calibrate(model, images)
    with atomic_folder(out) as folder:
        model.save_pretrained(folder)
        detail = {
            "seed": spec.seed,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "weights": "random, with running statistics of random images",
        }
        write_origin(
            folder, Origin(spec.source, None, None, None, tree_files(folder), False, detail)
        )


def _as_transformers(given: Path, out: Path) -> None:
    """Turn the model folder `given` into `out`, renaming torchvision's weights."""
    from seqlab.models.resnet import from_torchvision, is_torchvision, load_resnet

    state = _weights(given)
    origin = read_origin(given)
    with atomic_folder(out) as folder:
        if is_torchvision(state):
            from_torchvision(state).save_pretrained(folder)
            log.info("%s: weights renamed from torchvision's names", origin.source)
            origin.detail["renamed"] = "torchvision to transformers"
            write_origin(folder, origin)
            return
        load_resnet(given)  # a folder of another architecture ends here
        for path in sorted(given.iterdir()):
            if path.name != SOURCE_FILE:
                shutil.copyfile(path, folder / path.name)
        write_origin(folder, origin)


def _weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    state: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        state |= load_file(path)
    if not state:
        raise UserError("no safetensors weights", where=str(folder))
    return state
