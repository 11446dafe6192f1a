"""Latency in milliseconds an image, measured on the device at hand: alone, after a warm-up, medians.

A first honest version: eager float32 of the folded network, channels last, one thread on a CPU.
"""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from search_spaces import Architecture, fold

BATCH = {"cpu": 1, "cuda": 64}
WARM_UP = 2
ROUNDS = 9
WHOLE_ROUNDS = 11


@dataclass(frozen=True)
class Timing:
    """``median_ms`` and the quartiles' distance ``spread_ms`` of one forward pass, an image."""

    median_ms: float
    spread_ms: float


def describe(device: torch.device) -> dict[str, object]:
    """What stands beside every latency: the device and how it was measured."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        "device": name,
        "torch": str(torch.__version__),
        "batch": BATCH[device.type],
        "threads": 1 if device.type == "cpu" else None,
        "dtype": "float32",
        "layout": "channels_last",
        "form": "eager, BatchNorm folded",
    }


def latency_ms(model: nn.Module, shape: tuple[int, int, int], device: torch.device) -> float:
    """The metric: milliseconds an image of ``shape`` (C, H, W), the median of a few passes."""
    return time_models([model], shape, device, ROUNDS)[0].median_ms


def whole_latencies(architectures: Sequence[Architecture], device: torch.device) -> dict[str, tuple[float, float]]:
    """Whole networks of one backbone, timed in turn: key → milliseconds an image, and the quartiles' distance."""
    if not architectures:
        return {}
    shape = architectures[0].backbone.shape
    timings = time_models([a.inference() for a in architectures], shape, device, WHOLE_ROUNDS)
    return {a.key: (t.median_ms, t.spread_ms) for a, t in zip(architectures, timings, strict=True)}


def time_models(models: Sequence[nn.Module], shape: tuple[int, ...], device: torch.device, rounds: int) -> list[Timing]:
    """Time ``models`` on inputs of ``shape`` (C, H, W), in turn (A B A B), so that drift hits all alike."""
    passes = [_forward(model, shape, device) for model in models]
    for _ in range(WARM_UP):
        for forward in passes:
            forward()
    samples = [[forward() for forward in passes] for _ in range(rounds)]
    return [_timing(column) for column in zip(*samples, strict=True)]


def _forward(model: nn.Module, shape: tuple[int, ...], device: torch.device) -> Callable[[], float]:
    """A function that runs one forward pass and returns its milliseconds an image."""
    batch = BATCH[device.type]
    layout = torch.channels_last
    folded = fold(model).to(device, memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(batch, *shape, device=device).contiguous(memory_format=layout)

    @torch.inference_mode()
    def forward() -> float:
        _wait(device)
        start = time.perf_counter()
        folded(images)
        _wait(device)
        return (time.perf_counter() - start) * 1e3 / batch

    return forward


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _timing(samples: Sequence[float]) -> Timing:
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Timing(median, high - low)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
