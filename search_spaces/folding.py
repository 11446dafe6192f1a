"""The network as deployed: in eval mode, every BatchNorm folded into the convolution before it, where one is."""

import copy

import torch.fx
from torch import nn

from .operators import Operator
from .operators.base import absorb


class _Tracer(torch.fx.Tracer):
    """Traces down to operators and torch's own modules."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Operator) or super().is_leaf_module(m, module_qualified_name)


def fold(model: nn.Module) -> nn.Module:
    """A copy of ``model`` in eval mode with the same output and without the BatchNorms that can be folded away.

    An operator folds its own BatchNorms and, if it can, the one behind it (``Operator.fold``). Works on every network
    that ``torch.fx`` can trace.
    """
    model = copy.deepcopy(model).eval()
    if isinstance(model, Operator):
        model.fold(None)
        return model
    behind = batchnorms_behind(model)
    for name, module in list(model.named_modules()):
        if not isinstance(module, (Operator, nn.Conv2d)) or _inside_operator(model, name):
            continue
        bn_name = behind.get(name)
        bn = None if bn_name is None else model.get_submodule(bn_name)
        assert bn is None or isinstance(bn, nn.BatchNorm2d)
        if _fold_one(module, bn) and bn_name is not None:
            parent, _, leaf = bn_name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, nn.Identity())
    return model


def batchnorms_behind(model: nn.Module) -> dict[str, str]:
    """Convolution or operator → the BatchNorm that alone reads its output, by module names."""
    graph = _Tracer().trace(model)
    pairs = {}
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(model.get_submodule(str(node.target)), nn.BatchNorm2d):
            continue
        source = node.args[0]
        is_conv = source.op == "call_module" and isinstance(
            model.get_submodule(str(source.target)), (Operator, nn.Conv2d)
        )
        if is_conv and len(source.users) == 1:
            pairs[str(source.target)] = str(node.target)
    return pairs


def _fold_one(module: nn.Module, bn: nn.BatchNorm2d | None) -> bool:
    if isinstance(module, Operator):
        return module.fold(bn)
    assert isinstance(module, nn.Conv2d)
    return absorb(module, bn)


def _inside_operator(model: nn.Module, name: str) -> bool:
    parts = name.split(".")
    parents = (".".join(parts[:i]) for i in range(1, len(parts)))
    return any(isinstance(model.get_submodule(parent), Operator) for parent in parents)
