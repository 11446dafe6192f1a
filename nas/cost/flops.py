"""FLOPs and parameters, measured. 1 FLOP is one multiply-add, as in both papers and in fvcore."""

import logging
import warnings

import torch
from torch import nn

from search_spaces import fold

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # fvcore uses what torch has deprecated
    from fvcore.nn import FlopCountAnalysis


def count_flops(model: nn.Module, shape: tuple[int, ...]) -> int:
    """fvcore's count of ``model`` as deployed (``search_spaces.fold``) on one input of ``shape`` (B, C, H, W)."""
    logging.getLogger("fvcore").setLevel(logging.ERROR)  # it names each operation that it does not count
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        analysis = FlopCountAnalysis(fold(model), torch.zeros(shape))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        return int(analysis.total())


def count_params(model: nn.Module) -> int:
    """Trainable parameters of ``model`` as trained, BatchNorm included, as the papers count."""
    return sum(p.numel() for p in model.parameters())
