"""Inherited weights: a candidate starts from a trained dense network of the same backbone, not from noise."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .checks import BadInput
from .operators import Operator
from .operators.inheriting import evaluating

Moments = tuple[Tensor, Tensor]  # mean and variance of each channel; each (C,)


@torch.no_grad()
def inherit(model: nn.Module, dense: nn.Module, images: Tensor) -> None:
    """Start ``model`` from ``dense``, in place, so that brief fine-tuning is enough.

    What both have in common is copied. Then the images go through ``model``, and each operator comes as near as it
    can, in closed form, to the outputs that the convolution in its place has in ``dense`` (``Operator.inherit``). It
    does so on what it reads itself, so that it also makes up for errors in front of it (the asymmetric reconstruction
    of Zhang et al., *Accelerating Very Deep Convolutional Networks*, TPAMI 2016). The running statistics of each
    BatchNorm of the network are corrected by how its inputs differ from those in ``dense``: what is alike in both
    networks stays exactly alike, and what a few images tell badly cancels.

    Deterministic; on the device of the two networks and the images. ``dense`` stays as it is, both stay in their modes.
    The outputs of the convolutions in question are in memory at once, for all ``images``.

    Args:
        model: ``convert(backbone, choices)``.
        dense: the trained network, of the same backbone.
        images: normalised, ``(B, 3, H, W)``; a few hundred are enough.

    Raises:
        ValueError: the networks have not the same backbone: the message names the first tensor that differs.
    """
    operators = {name: module for name, module in model.named_modules() if isinstance(module, Operator)}
    replaced = {name: _replaced(dense, name, operator) for name, operator in operators.items()}
    _copy_the_rest(model, dense, operators)
    norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and not _inside(name, operators)
    }
    outputs: dict[str, Tensor] = {}
    moments: dict[str, Moments] = {}
    hooks = [_after(conv, name, outputs) for name, conv in replaced.items()]
    hooks += [_before(dense.get_submodule(name), _noting(name, moments)) for name in norms]
    _run(dense, images, hooks)
    hooks = [_before(o, _inheriting(o, replaced[name].weight, outputs[name])) for name, o in operators.items()]
    hooks += [_before(norm, _correcting(norm, moments[name])) for name, norm in norms.items()]
    _run(model, images, hooks)


def _run(network: nn.Module, images: Tensor, hooks: list[RemovableHandle]) -> None:
    """One pass in eval mode; the hooks are gone afterwards."""
    with evaluating(network):
        try:
            network(images)
        finally:
            for hook in hooks:
                hook.remove()


def _before(module: nn.Module, act: Callable[[Tensor], None]) -> RemovableHandle:
    """Call ``act`` with what ``module`` reads, the first time that it is called."""

    def hook(_: nn.Module, read: tuple[Tensor, ...]) -> None:
        handle.remove()
        act(read[0])

    handle = module.register_forward_pre_hook(hook)
    return handle


def _after(module: nn.Module, name: str, outputs: dict[str, Tensor]) -> RemovableHandle:
    """Keep what ``module`` gives, the first time that it is called, before anything overwrites it."""

    def hook(_: nn.Module, read: tuple[Tensor, ...], given: Tensor) -> None:
        handle.remove()
        outputs[name] = given.clone()

    handle = module.register_forward_hook(hook)
    return handle


def _noting(name: str, moments: dict[str, Moments]) -> Callable[[Tensor], None]:
    def note(x: Tensor) -> None:
        moments[name] = _moments(x)

    return note


def _inheriting(operator: Operator, weight: Tensor, outputs: Tensor) -> Callable[[Tensor], None]:
    return lambda x: operator.inherit(weight, x, outputs)


def _correcting(norm: nn.BatchNorm2d, dense: Moments) -> Callable[[Tensor], None]:
    """A mean moves as far as the inputs' does, a variance grows by the same factor."""

    def correct(x: Tensor) -> None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = _moments(x)
        norm.running_mean += mean - dense[0]
        norm.running_var *= (variance + norm.eps) / (dense[1] + norm.eps)

    return correct


def _moments(x: Tensor) -> Moments:
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    return mean, variance


def _replaced(dense: nn.Module, name: str, operator: Operator) -> nn.Conv2d:
    """The convolution of ``dense`` that ``operator`` stands for."""
    conv = dict(dense.named_modules()).get(name)
    if type(conv) is not nn.Conv2d:
        got = "none" if conv is None else f"that of {type(conv).__name__}"
        raise BadInput(f"inherit: {name}.weight must be a convolution's in the dense network, got {got}")
    wanted = (operator.out_channels, operator.in_channels, *operator.kernel_size)
    _require_shape(f"{name}.weight", wanted, conv.weight)
    return conv


def _copy_the_rest(model: nn.Module, dense: nn.Module, operators: dict[str, Operator]) -> None:
    """All parameters and buffers but the operators'; nothing where one does not fit."""
    source = dense.state_dict()
    rest = {name: tensor for name, tensor in model.state_dict().items() if not _inside(name, operators)}
    for name, tensor in rest.items():
        _require_shape(name, tuple(tensor.shape), source.get(name))
    for name, tensor in rest.items():
        tensor.copy_(source[name])


def _inside(name: str, operators: dict[str, Operator]) -> bool:
    """Whether a module or tensor belongs to one of the operators."""
    return any(name.startswith(f"{operator}.") for operator in operators)


def _require_shape(name: str, shape: tuple[int, ...], found: Tensor | None) -> None:
    if found is None or tuple(found.shape) != shape:
        got = "none" if found is None else tuple(found.shape)
        raise BadInput(f"inherit: {name} must have the shape {shape} in the dense network too, got {got}")
