"""Load and save graph networks as folders: `config.json` and `model.safetensors`.

Tensors have torch-geometric's names, so `torch_geometric.nn.GCNConv` and `SAGEConv` take them.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from seqlab.errors import UserError
from seqlab.models.graph_network import GraphNetwork, GraphNetworkConfig
from seqlab.provenance.atomic import write_bytes, write_json

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_MAKE_AGAIN = "train or save the network again"


def save_graph_network(model: GraphNetwork, folder: str | os.PathLike[str]) -> None:
    """Save a network; the same weights give the same bytes.

    Args:
        model: The network; its weights are saved in their own type.
        folder: Created if missing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    weights = {name: state[name].detach().cpu().contiguous() for name in sorted(state)}
    write_bytes(folder / WEIGHTS_FILE, save(weights, metadata={"format": "pt"}))
    write_json(folder / CONFIG_FILE, asdict(model.config))


def load_graph_network(
    folder: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> GraphNetwork:
    """Load a network that `save_graph_network` saved.

    Args:
        folder: Folder with `config.json` and `model.safetensors`.
        device: Where the weights go.
        dtype: Type the weights get.

    Returns:
        The network in evaluation mode.

    Raises:
        UserError: A file is missing or damaged, or weights do not fit the configuration.
    """
    folder = Path(folder)
    model = GraphNetwork(_config(folder / CONFIG_FILE))
    path = folder / WEIGHTS_FILE
    try:
        model.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise UserError("file is missing", where=str(path), fix=_MAKE_AGAIN) from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"file is damaged: {error}", where=str(path), fix=_MAKE_AGAIN) from None
    except RuntimeError as error:
        # torch lists missing, unknown and misshapen weights, one a line, below a heading.
        reason = str(error).splitlines()[-1].strip()
        raise UserError(reason, where=str(path), fix=f"check {CONFIG_FILE}") from None
    return model.to(device=device, dtype=dtype).eval()


def _config(path: Path) -> GraphNetworkConfig:
    try:
        values = json.loads(path.read_text("utf-8"))
        return GraphNetworkConfig(**{f.name: values[f.name] for f in fields(GraphNetworkConfig)})
    except FileNotFoundError:
        raise UserError("file is missing", where=str(path), fix=_MAKE_AGAIN) from None
    except KeyError as error:
        raise UserError(f"{error} is missing", where=str(path), fix=_MAKE_AGAIN) from None
    except (ValueError, TypeError) as error:
        raise UserError(
            f"not a graph network's: {error}", where=str(path), fix=_MAKE_AGAIN
        ) from None
