"""The vanilla proxy, and the weights that the user gives it."""

import io
from collections.abc import Mapping
from pathlib import Path

import torch

from search_spaces import Architecture, Space, proxy_of
from search_spaces.backbones.foreign import pretrained
from search_spaces.checks import BadInput
from trainers.data.base import ImageData
from trainers.full.weights import read

from .question import Question


def given_weights(question: Question, space: Space, data: ImageData) -> dict[str, bytes]:
    """What ``--weights`` names, known to fit the vanilla proxy: as ``parent``.

    Of a foreign network the weights may be for other classes: then the parent is trained, and starts from them
    (``start``), its classifier from nothing.

    Raises:
        BadInput: it can't be read, or is the state dict of another network.
    """
    if question.weights is None:
        return {}
    state, proxy = _read_given(question, space), vanilla_proxy(question, space, data.classes)
    torch.manual_seed(question.seed)
    wanted = proxy.build().state_dict()
    different = [n for n in [*wanted, *state] if _shape(state, n) != _shape(wanted, n)]
    if not different:
        return {"parent": _saved(state)}
    other = [n for n in different if not _differs_in_classes(_shape(wanted, n), _shape(state, n), data.classes)]
    if not space.backbone.is_foreign or other:
        name = (other or different)[0]
        raise BadInput(
            f"--weights {question.weights}: must be the state dict of {proxy.backbone}; "
            f"{name} must be {_shape(wanted, name) or 'absent'}, is {_shape(state, name) or 'absent'}"
        )
    return {"start": _saved({n: tensor if n in different else state[n] for n, tensor in wanted.items()})}


def _read_given(question: Question, space: Space) -> dict[str, torch.Tensor]:
    if isinstance(question.weights, Path):
        return read(question.weights, "--weights")
    return dict(pretrained(space.backbone.name))


def _shape(state: Mapping[str, torch.Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None


def _differs_in_classes(wanted: tuple[int, ...] | None, found: tuple[int, ...] | None, classes: int) -> bool:
    """Whether it is of a classifier for another number of classes."""
    return bool(wanted and found) and wanted[0] == classes and wanted[1:] == found[1:]  # type: ignore[index]


def _saved(state: Mapping[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(dict(state), file)
    return file.getvalue()


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict, on the CPU; nothing else that a file may hold is loaded."""
    found: dict[str, torch.Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    return found


def vanilla_proxy(question: Question, space: Space, classes: int) -> Architecture:
    """What the vanilla network's trial trains."""
    vanilla, width, resolution = Architecture(space.backbone), question.proxy_width, question.proxy_resolution
    return proxy_of(vanilla, width=width, resolution=resolution, classes=classes)[0]
