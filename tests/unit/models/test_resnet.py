"""ResNets: calibrated random weights, torchvision's weights renamed, folders loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hub.torchvision_resnet import TorchvisionResNet
from seqlab.errors import UserError
from seqlab.models.resnet import (
    calibrate,
    fresh_resnet,
    from_torchvision,
    is_torchvision,
    load_resnet,
    random_images,
)

transformers = pytest.importorskip("transformers")
TINY = {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [2, 2], "num_labels": 10}


def test_renamed_weights_compute_what_torchvisions_network_does() -> None:
    theirs = TorchvisionResNet(12, (20, 36, 68), (2, 1, 3), 7).double()
    state = theirs.state_dict()
    assert is_torchvision(state)
    ours = from_torchvision(state)
    assert list(ours.config.depths) == [2, 1, 3] and not is_torchvision(ours.state_dict())
    pixels = random_images(2, 64, 3, seed=1).double()
    with torch.no_grad():
        found = ours.double()(pixels).logits
        # What is copied into float32 parameters has their precision.
        expected = theirs.float()(pixels.float())
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-5)
    assert expected.abs().max() > 0.1


def test_weights_that_are_no_such_network_are_refused() -> None:
    state = TorchvisionResNet(12, (20,), (1,), 7).state_dict()
    with pytest.raises(UserError, match="not those of a torchvision ResNet of bottlenecks"):
        from_torchvision({k: v for k, v in state.items() if "conv3" not in k})
    with pytest.raises(UserError, match=r"not those of a torchvision ResNet: .*strange"):
        from_torchvision(state | {"strange": torch.zeros(1)})


def test_calibration_normalises_what_every_block_puts_out() -> None:
    config = transformers.ResNetConfig(**TINY | {"depths": [6, 6]})
    images = random_images(32, 64, 3, seed=2)
    logits = {}
    for name in ("plain", "calibrated"):
        model = fresh_resnet(config, seed=0)
        if name == "calibrated":
            calibrate(model, images)
        with torch.no_grad():
            logits[name] = model(random_images(8, 64, 3, seed=3)).logits
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not model.training and all(norm.momentum == 0.1 for norm in norms)
    first = model.resnet.embedder.embedder
    before = first.convolution(images)
    torch.testing.assert_close(
        first.normalization.running_mean, before.mean((0, 2, 3)), rtol=1e-4, atol=1e-5
    )
    # The mean of the variances of four passes, each of a quarter of the images.
    torch.testing.assert_close(
        first.normalization.running_var, before.var((0, 2, 3)), rtol=1e-2, atol=0
    )
    assert 0.05 < logits["calibrated"].std() < 5 and logits["calibrated"].abs().max() < 20
    assert logits["plain"].std() > 5 * logits["calibrated"].std()


def test_the_same_seed_gives_the_same_network_and_leaves_torchs_generator_alone() -> None:
    config = transformers.ResNetConfig(**TINY)
    before = torch.get_rng_state()
    a, b, c = (fresh_resnet(config, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["classifier.1.weight"], c["classifier.1.weight"])
    assert torch.equal(random_images(2, 8, 3, 5), random_images(2, 8, 3, 5))


def test_a_folder_is_loaded_whole_or_refused(tmp_path: Path) -> None:
    config = transformers.ResNetConfig(**TINY)
    model = fresh_resnet(config, seed=1)
    model.save_pretrained(tmp_path / "whole")
    loaded = load_resnet(tmp_path / "whole")
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    with pytest.raises(UserError, match="no ResNet"):
        load_resnet(tmp_path / "absent")
    from safetensors.torch import load_file, save_file

    weights = tmp_path / "whole" / "model.safetensors"
    state = load_file(weights)
    del state["resnet.encoder.stages.1.layers.0.shortcut.convolution.weight"]
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=r"missing keys: resnet\.encoder\.stages\.1\.layers\.0\.shortcut"
    ):
        load_resnet(tmp_path / "whole")
