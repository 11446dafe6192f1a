"""Inherited weights: a candidate starts from a trained dense network of the same backbone, not from noise."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .checks import BadInput
from .operators import Operator
from .operators.inheriting import evaluating, take_statistics


@torch.no_grad()
def inherit(model: nn.Module, dense: nn.Module, images: Tensor) -> None:
    """Start ``model`` from ``dense``, in place, so that brief fine-tuning is enough.

    What both have in common is copied. Every operator comes as near to the convolution that it replaces as it can, in
    closed form, on what that convolution reads and gives in the dense network (``Operator.inherit``); so do the blocks
    of *Distilling Optimal Neural Networks* (DONNA, Moons et al., ICCV 2021), by training. Then the running statistics
    of the network's BatchNorms are corrected by what changed in front of them (``correct_statistics``).

    Deterministic; on the device of the two networks. ``dense`` stays as it is, and both stay in their modes.

    Args:
        model: ``convert(backbone, choices)``.
        dense: the trained network, of the same backbone.
        images: normalised, ``(B, 3, H, W)``; a few hundred are enough.

    Raises:
        ValueError: the networks have not the same backbone: the message names the first tensor that differs.
    """
    operators = {name: module for name, module in model.named_modules() if isinstance(module, Operator)}
    pairs = {name: (operator, _replaced(dense, name, operator)) for name, operator in operators.items()}
    _copy_the_rest(model, dense, operators)
    hooks = [conv.register_forward_hook(_inheriting(operator)) for operator, conv in pairs.values()]
    with evaluating(dense):
        try:
            dense(images)
        finally:
            for hook in hooks:
                hook.remove()
    correct_statistics(model, dense, images)


def correct_statistics(model: nn.Module, dense: nn.Module, images: Tensor) -> None:
    """Correct the BatchNorms of ``model`` by how their inputs differ from those of the same ones in ``dense``.

    On the same images: a mean moves as far, a variance grows by the same factor. Thus what is alike in both networks
    stays exactly alike, and what the images tell badly, for being few, cancels. The operators' own stay: they undo
    themselves.
    """
    theirs, ours = _statistics(dense, images), _statistics(model, images)
    for name, (mean, variance) in ours.items():
        norm, (dense_mean, dense_variance) = model.get_submodule(name), theirs[name]
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean += mean - dense_mean
        norm.running_var *= (variance + norm.eps) / (dense_variance + norm.eps)


def _statistics(model: nn.Module, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance in front of each of the network's BatchNorms, if all normalise by them; each ``(C,)``."""
    twin = copy.deepcopy(model).eval()
    inside = {m for operator in twin.modules() if isinstance(operator, Operator) for m in operator.modules()}
    norms = {
        name: m
        for name, m in twin.named_modules()
        if isinstance(m, nn.BatchNorm2d) and m not in inside and m.running_mean is not None
    }
    take_statistics(twin, images, list(norms.values()))
    return {name: (norm.running_mean, norm.running_var) for name, norm in norms.items()}  # type: ignore[misc]


def _inheriting(operator: Operator) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """A hook behind the dense convolution, which hands on what it reads and gives before anything overwrites it."""

    def hook(conv: nn.Module, read: tuple[Tensor, ...], given: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        operator.inherit(conv.weight, read[0], given)

    return hook


def _replaced(dense: nn.Module, name: str, operator: Operator) -> nn.Conv2d:
    """The convolution of ``dense`` that ``operator`` stands for."""
    conv = dict(dense.named_modules()).get(name)
    if type(conv) is not nn.Conv2d:
        raise BadInput(
            f"inherit: {name}.weight must be a convolution's in the dense network, got {type(conv).__name__}"
        )
    wanted = (operator.out_channels, operator.in_channels, *operator.kernel_size)
    _require_shape(f"{name}.weight", wanted, conv.weight)
    return conv


def _copy_the_rest(model: nn.Module, dense: nn.Module, operators: dict[str, Operator]) -> None:
    """All parameters and buffers but the operators'."""
    source = dense.state_dict()
    for name, tensor in model.state_dict().items():
        if any(name.startswith(f"{operator}.") for operator in operators):
            continue
        _require_shape(name, tuple(tensor.shape), source.get(name))
    for name, tensor in model.state_dict().items():
        if not any(name.startswith(f"{operator}.") for operator in operators):
            tensor.copy_(source[name])


def _require_shape(name: str, shape: tuple[int, ...], found: Tensor | None) -> None:
    if found is None or tuple(found.shape) != shape:
        got = "none" if found is None else tuple(found.shape)
        raise BadInput(f"inherit: {name} must have the shape {shape} in the dense network too, got {got}")
