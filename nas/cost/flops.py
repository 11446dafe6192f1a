"""FLOPs and parameters, measured. 1 FLOP is one multiply-add, as in both papers and in fvcore."""

import logging
import warnings
from collections import Counter
from math import prod
from typing import Any

import torch
from torch import nn

from search_spaces import fold
from search_spaces.operators.binary import OPERATIONS_PER_FLOP, WEIGHTS_PER_PARAM, BinaryConv2d

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # fvcore uses what torch has deprecated
    from fvcore.nn import FlopCountAnalysis


def flops(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """The metric: ``count_flops`` of one image of ``shape`` (C, H, W)."""
    return count_flops(model, (1, *shape))


def params(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """The metric: ``count_params``."""
    return count_params(model)


def count_flops(model: nn.Module, shape: tuple[int, ...]) -> int:
    """fvcore's count of ``model`` as deployed (``search_spaces.fold``) on one input of ``shape`` (B, C, H, W)."""
    return trace_flops(fold(model), shape)


def trace_flops(model: nn.Module, shape: tuple[int, ...]) -> int:
    """fvcore's count of ``model`` as it is, on the device where it is; 64 binary multiply-adds count as one."""
    logging.getLogger("fvcore").setLevel(logging.ERROR)  # it names each operation that it does not count
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        analysis = FlopCountAnalysis(model, torch.zeros(shape, device=device))
        analysis.set_op_handle("aten::_convolution_mode", _conv_with_padding_in_words)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        by_module = analysis.by_module_and_operator()
    binary = [n for n, m in model.named_modules() if isinstance(m, BinaryConv2d)]
    counts = [int(by_module[name]["conv"] - by_module[f"{name}.magnitude"]["conv"]) for name in binary]
    return int(by_module[""].total()) - sum(n + -n // OPERATIONS_PER_FLOP for n in counts)


def count_params(model: nn.Module) -> int:
    """Trainable parameters of ``model`` as trained, BatchNorm included; 32 binary weights count as one."""
    binary = [m.weight.numel() for m in model.modules() if isinstance(m, BinaryConv2d)]
    return sum(p.numel() for p in model.parameters()) - sum(n + -n // WEIGHTS_PER_PARAM for n in binary)


def _conv_with_padding_in_words(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """``padding="same"`` or ``"valid"``, which fvcore leaves out."""
    batch, _, height, width = outputs[0].type().sizes()
    return Counter({"conv": batch * height * width * prod(inputs[1].type().sizes())})
