"""What operators share to start from a trained dense layer: parts of its kernel, least squares, BatchNorms."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = nn.BatchNorm1d | nn.BatchNorm2d
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
ROWS = 4096  # output pixels that a fit looks at: the images of one batch give no more that differ
RIDGE = 1e-2  # how firmly a fit holds on to the weights it starts from, relative to the features' mean variance


@dataclass(frozen=True)
class Path:
    """A convolution and what it reads, ``(B, C, H, W)``; ``cell`` × ``cell`` output pixels share one of its own."""

    conv: nn.Conv2d
    inputs: Tensor
    cell: int = 1


def blocks(weight: Tensor, groups: int) -> Tensor:
    """The kernel within its groups: ``(C_out, C_in, kh, kw)`` → ``(C_out, C_in / groups, kh, kw)``."""
    parts = weight.unflatten(1, (groups, -1)).unflatten(0, (groups, -1))
    return parts[torch.arange(groups), :, torch.arange(groups)].flatten(0, 1)


def taps(weight: Tensor) -> Tensor:
    """The 1×1 kernel that is alike where the input is flat: ``(C_out, C_in, kh, kw)`` → ``(C_out, C_in, 1, 1)``."""
    return weight.sum((2, 3), keepdim=True)


def outside_blocks(weight: Tensor, groups: int) -> Tensor:
    """The kernel with zeros within its groups, which another convolution covers; the same shape."""
    rest = weight.unflatten(1, (groups, -1)).unflatten(0, (groups, -1)).clone()
    rest[torch.arange(groups), :, torch.arange(groups)] = 0
    return rest.flatten(2, 3).flatten(0, 1)


def assign(conv: nn.Conv2d, weight: Tensor) -> None:
    """Give ``conv`` these weights, in place; ``weight`` has the shape of its own."""
    conv.weight.copy_(weight)


def fit(targets: Tensor, *paths: Path, ridge: float = RIDGE, balance: float = 0.0) -> None:
    """Set the weights of convolutions that are summed, by least squares, as near as that allows to what they are.

    Ridge regression (Hoerl and Kennard, Technometrics 1970) around the present weights W₀: where these are exact they
    stay. Constants are free: the BatchNorm behind takes them. All paths have as many groups as the first or one.

    Args:
        targets: what the sum shall give, ``(B, C_out, H', W')``.
        balance: how much it counts, beside the targets, that the last path's mean over an image differs from that of
            the others together, as it varies from image to image.
    """
    groups = max(path.conv.groups for path in paths)
    where = _pixels(targets)
    x = torch.cat([_features(path, where, groups) for path in paths], dim=2)
    before = [path.conv.weight.reshape(groups, -1, _width(path.conv)) for path in paths]
    start = torch.cat(before, dim=2).transpose(1, 2)
    missing = targets[where[0], :, where[1], where[2]].unflatten(1, (groups, -1)).transpose(0, 1) - x @ start
    x, missing = x - x.mean(1, keepdim=True), missing - missing.mean(1, keepdim=True)
    if balance:
        means = _image_means(paths, groups)
        means = (means - means.mean(1, keepdim=True)) * (balance * x.shape[1] / means.shape[1]) ** 0.5
        x, missing = torch.cat([x, means], dim=1), torch.cat([missing, -means @ start], dim=1)
    gram = x.transpose(1, 2) @ x
    diagonal = gram.diagonal(dim1=1, dim2=2)
    diagonal += (ridge * diagonal.mean(1, keepdim=True)).clamp_min(1e-12)
    change = torch.cholesky_solve(x.transpose(1, 2) @ missing, torch.linalg.cholesky(gram))
    fitted = (start + change).transpose(1, 2).split([_width(path.conv) for path in paths], dim=2)
    for path, weight in zip(paths, fitted, strict=True):
        path.conv.weight.copy_(weight.reshape(path.conv.weight.shape))


def undo(bn: nn.Module, values: Tensor, mean: Tensor | None = None, gain: float = 1.0) -> None:
    """Set ``bn`` so that it gives back ``gain`` times the ``values`` ``(B, C, …)``, around ``mean`` ``(C,)``."""
    assert isinstance(bn, NORMS)
    assert bn.running_mean is not None
    assert bn.running_var is not None
    around = [d for d in range(values.dim()) if d != 1]
    bn.running_mean.copy_(values.mean(around))
    bn.running_var.copy_(values.var(around, correction=0))
    bn.weight.copy_(gain * (bn.running_var + bn.eps).sqrt())
    bn.bias.copy_(gain * bn.running_mean if mean is None else mean)


def fit_conv_bn(block: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Fit a ``conv_bn`` to ``targets`` from nothing, whatever its weights are; returns its outputs.

    Channels that the targets lack are the last ones, which nobody reads: they become zero.
    """
    conv = conv_of(block)
    nn.init.zeros_(conv.weight)
    targets = F.pad(targets, (0, 0, 0, 0, 0, conv.out_channels - targets.shape[1]))
    fit(targets, Path(conv, inputs))
    return undo_conv_bn(block, inputs, targets)


def undo_conv_bn(block: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Make the BatchNorm of a ``conv_bn`` give its convolution back, around the targets' means; returns its outputs."""
    conv = conv_of(block)
    undo(block.get_submodule("1"), conv(inputs), channel_means(targets))
    return block(inputs)


def conv_of(block: nn.Module) -> nn.Conv2d:
    """The convolution of a ``conv_bn``."""
    conv = block.get_submodule("0")
    assert isinstance(conv, nn.Conv2d)
    return conv


def channel_means(x: Tensor) -> Tensor:
    """``(B, C, H, W)`` → ``(C,)``."""
    return x.mean((0, 2, 3))


def take_statistics(module: nn.Module, inputs: Tensor, norms: Sequence[Norm]) -> None:
    """Set the running statistics of these BatchNorms of ``module``, which is in eval mode, to those of one batch."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches since
        norm.train()
    module(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Eval mode for a while; afterwards every module inside is in the mode that it was in."""
    modes = [(inner, inner.training) for module in modules for inner in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for inner, training in modes:
            inner.training = training


def _pixels(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Image, row and column of up to ``ROWS`` pixels of ``x``, at random, always alike."""
    count = x.shape[0] * x.shape[2] * x.shape[3]
    flat = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:ROWS].to(x.device)
    return flat // (x.shape[2] * x.shape[3]), flat // x.shape[3] % x.shape[2], flat % x.shape[3]


def _features(path: Path, where: tuple[Tensor, Tensor, Tensor], groups: int) -> Tensor:
    """What the convolution sees at these pixels of its output: ``(groups, rows, C_in / groups · kh · kw)``."""
    image, row, column = where
    return _by_group(_windows(path)[image, :, row // path.cell, column // path.cell], path.conv, groups)


def _image_means(paths: Sequence[Path], groups: int) -> Tensor:
    """Means of what the convolutions see over each image, the last one's negative: ``(groups, B, Σ widths)``."""
    means = [_by_group(_windows(path).mean((2, 3)), path.conv, groups) for path in paths]
    return torch.cat([*means[:-1], -means[-1]], dim=2)


def _windows(path: Path) -> Tensor:
    """A view of what the convolution sees at each pixel of its output: ``(B, C_in, H', W', kh, kw)``."""
    conv = path.conv
    x = F.pad(path.inputs, conv._reversed_padding_repeated_twice)
    for dim, (k, s, d) in enumerate(zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)):
        x = x.unfold(2 + dim, d * (k - 1) + 1, s)[..., ::d]
    return x


def _by_group(seen: Tensor, conv: nn.Conv2d, groups: int) -> Tensor:
    """``(rows, C_in, kh, kw)`` → ``(groups, rows, …)``: what each group of filters sees, all of it in one group."""
    if conv.groups == 1:
        return seen.flatten(1).expand(groups, -1, -1)
    return seen.unflatten(1, (groups, -1)).flatten(2).transpose(0, 1)


def _width(conv: nn.Conv2d) -> int:
    """Weights of one filter."""
    return conv.weight[0].numel()
