"""A metric: energy, made up as a picojoule for every ten parameters."""

from torch import nn

from nas.metrics import Metric


def energy(model: nn.Module, shape: tuple[int, int, int]) -> float:
    return sum(p.numel() for p in model.parameters()) / 10


ENERGY = Metric("pJ", energy, "made up from the parameters", ("nJ", 1e3, 2))
