"""What a network starts from: nothing, its own weights, or those of the dense network that it replaces."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from search_spaces import Architecture, inherit
from search_spaces.checks import BadInput

from .data import Evaluated, FullData

IMAGES = 256  # on which operators are fitted to the dense layers


def read(path: Path, option: str = "--from") -> dict[str, Tensor]:
    """A state dict, from a file of safetensors or of torch's; no code that a file may hold is run.

    Args:
        option: by which the file was named.

    Raises:
        BadInput: it can't be read.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
            raise ValueError("it is no state dict, which maps names to tensors")
        return found
    except Exception as error:  # what torch raises on a file that is none of its own depends on the first bytes
        raise BadInput(f"{option} {path}: can't be read: {' '.join(str(error).split())[:200]}") from None


def start(model: nn.Module, architecture: Architecture, state: dict[str, Tensor], data: FullData) -> str:
    """Give ``model`` these weights, in place: its own, or those of its vanilla network, from which it inherits.

    Returns:
        What was done, for a person.

    Raises:
        BadInput: they fit neither; it names the first tensor that does not.
    """
    wanted = _shapes(model.state_dict())
    if _shapes(state) == wanted:
        model.load_state_dict(state)
        return "from its own weights"
    dense = replace(architecture, layers=()).build()
    if _shapes(state) == _shapes(dense.state_dict()):
        dense.load_state_dict(state)
        images = Evaluated(data.train, data.evaluate)
        count = min(IMAGES, len(images))
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count].tolist()
        inherit(model, dense, torch.stack([images[i][0] for i in chosen]))
        return "from the weights of its vanilla network"
    found = _shapes(state)
    name = next(n for n in [*wanted, *found] if found.get(n) != wanted.get(n))
    raise BadInput(
        "--from: must be the weights of this network or of its vanilla one, for as many classes; "
        f"{name} must be {wanted.get(name, 'absent')} in this one, is {found.get(name, 'absent')}"
    )


def teacher(architecture: Architecture, path: Path) -> nn.Module:
    """The vanilla network of an architecture, with these weights.

    Raises:
        BadInput: they can't be read, or are another network's.
    """
    dense, state = replace(architecture, layers=()).build(), read(path, "--teacher")
    wanted, found = _shapes(dense.state_dict()), _shapes(state)
    if found != wanted:
        name = next(n for n in [*wanted, *found] if found.get(n) != wanted.get(n))
        raise BadInput(
            f"--teacher {path}: must be the weights of the vanilla network, for as many classes; "
            f"{name} must be {wanted.get(name, 'absent')}, is {found.get(name, 'absent')}"
        )
    dense.load_state_dict(state)
    return dense


def start_body(body: nn.Module, state: dict[str, Tensor]) -> str:
    """Give a detector's backbone the weights of the same network as a classifier, whatever its classes.

    Raises:
        BadInput: they are another network's.
    """
    wanted, found = _shapes(body.state_dict()), _shapes(state)
    different = [n for n in [*wanted, *found] if found.get(n) != wanted.get(n) and not n.startswith("fc.")]
    if different:
        name = different[0]
        raise BadInput(
            "--from: must be the weights of the detector's backbone as a classifier; "
            f"{name} must be {wanted.get(name, 'absent')}, is {found.get(name, 'absent')}"
        )
    body.load_state_dict({n: t for n, t in state.items() if not n.startswith("fc.")}, strict=False)
    return "the backbone from its own weights"


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
