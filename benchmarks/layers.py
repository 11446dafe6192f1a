"""Single layers of ResNet-50 at 224 pixels: each inference form of SPConv, in turn with vanilla's convolution.

python benchmarks/layers.py [--batch 1] [--alpha 0.5 0.25 0.125] [--groups 2] [--rounds 60]     CPU, float32, one thread
python benchmarks/layers.py --cuda [--batch 64] [--tiles]                                        GPU, half precision

Milliseconds are medians, channels_last; the ratio is to vanilla's convolution, with the bias that a folded BatchNorm
leaves. On a GPU each form is timed in a CUDA graph; ``+relu`` has a ReLU in the same kernel, vanilla's as cuDNN has it.
``--tiles`` also cuts the fused kernel's work in other ways, and prints the best.
"""

import argparse
import functools
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import Tensor, nn

from search_spaces import fold
from search_spaces.operators import SPConv2d

Layer = tuple[int, int, int, float, int]  # channels, size, stride, α, groups
Call = Callable[[], object]
LAYERS = [(64, 56, 1), (128, 28, 1), (256, 14, 1), (512, 7, 1), (128, 56, 2), (256, 28, 2), (512, 14, 2)]
CALLS = 20  # in a CUDA graph
CUTS = [  # of the fused kernel: pixels, outputs, warps, stages
    (64, 64, 4, 4),
    (128, 64, 4, 3),
    (128, 64, 4, 4),
    (256, 64, 8, 3),
    (64, 128, 4, 4),
    (128, 128, 4, 3),
    (128, 128, 8, 3),
    (128, 128, 8, 4),
    (256, 128, 8, 3),
    (128, 256, 8, 3),
]


def operator_of(layer: Layer, on_gpu: bool) -> SPConv2d:
    channels, _, stride, alpha, groups = layer
    operator = SPConv2d(channels, channels, stride=stride, alpha=alpha, groups=groups)
    folded = next(fold(nn.Sequential(operator, nn.BatchNorm2d(channels))).children())
    assert isinstance(folded, SPConv2d)
    return folded.cuda().half() if on_gpu else folded


def calls_of(layer: Layer, batch: int, on_gpu: bool) -> dict[str, Call]:
    """The vanilla convolution, the folded operator, and its forms."""
    channels, size, stride, _, _ = layer
    vanilla, operator, x = (
        nn.Conv2d(channels, channels, 3, stride, 1),
        operator_of(layer, on_gpu),
        images(layer, batch, on_gpu),
    )
    vanilla = vanilla.to(x)
    forms = {"vanilla": vanilla, "folded": operator, **operator.forms((size, size), on_gpu)}
    forms = {name: form.to(memory_format=torch.channels_last) for name, form in forms.items()}
    calls: dict[str, Call] = {name: functools.partial(form, x) for name, form in forms.items()}
    if on_gpu:
        two = ((stride, stride), (1, 1), (1, 1), 1)
        calls["vanilla+relu"] = lambda: torch.cudnn_convolution_relu(x, vanilla.weight, vanilla.bias, *two)
        calls["fused+relu"] = functools.partial(type(forms["fused"])(operator, (size, size), relu=True), x)
    return calls


def images(layer: Layer, batch: int, on_gpu: bool) -> Tensor:
    x = torch.randn(batch, layer[0], layer[1], layer[1]).to(memory_format=torch.channels_last)
    return x.cuda().half() if on_gpu else x


def cuts_of(layer: Layer) -> list[tuple[int, ...]]:
    """Arguments of ``Tiles`` that a layer can be cut by."""
    channels, size, stride, alpha, _ = layer
    front, pixels = round(alpha * channels), (size // stride) ** 2
    steps = {(min(64, max(16, front)), min(64, channels - front)), (min(32, max(16, front)), min(64, channels - front))}
    cuts = itertools.product([cut for cut in CUTS if cut[1] <= channels], steps, (False, True))
    return [
        (rows, columns, heavy, light, warps, stages, within)
        for (rows, columns, warps, stages), (heavy, light), within in cuts
        if rows >= pixels or not within
    ]


def compiled(job: tuple[Layer, int, tuple[int, ...] | None]) -> str:
    """Run once, so that Triton's cache has it: a layer's forms, or its fused kernel cut so; what went wrong, if so."""
    layer, batch, cut = job
    torch.set_grad_enabled(False)
    try:
        if cut is None:
            for call in calls_of(layer, batch, True).values():
                call()
        else:
            fused(layer, cut)(images(layer, batch, True))
        torch.cuda.synchronize()
    except Exception as error:
        return f"{layer} {cut}: {type(error).__name__} {str(error).splitlines()[:1]}"
    return ""


def fused(layer: Layer, cut: tuple[int, ...]) -> nn.Module:
    from search_spaces.operators.spconv_triton import FusedSPConv, Tiles  # noqa: PLC0415  only where Triton is

    return FusedSPConv(operator_of(layer, True), (layer[1], layer[1]), Tiles(*cut))  # type: ignore[arg-type]


def medians_ms(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """On the CPU, all in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) * 1e3 for name, t in times.items()}


def graph_of(call: Call) -> torch.cuda.CUDAGraph:
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    return graph


def graphs_ms(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """On the GPU, all in turn, as CUDA graphs."""
    graphs = {name: graph_of(call) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(rounds):
        for name, graph in graphs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            times[name].append(start.elapsed_time(end) / CALLS)
    return {name: statistics.median(t) for name, t in times.items()}


def show(layer: Layer, times: dict[str, float]) -> None:
    channels, size, stride, alpha, groups = layer
    cells = [f"{name} {t:.4f} ({t / times['vanilla']:.2f})" for name, t in times.items()]
    print(f"{channels}@{size} stride {stride} α={alpha:g} g={groups}".ljust(28) + "  ".join(cells), flush=True)


def on_gpu(layers: list[Layer], batch: int, rounds: int, tiles: bool) -> None:
    jobs: list[tuple[Layer, int, tuple[int, ...] | None]] = [(layer, batch, None) for layer in layers]
    jobs += [(layer, batch, cut) for layer in layers for cut in (cuts_of(layer) if tiles else ())]
    start = time.perf_counter()
    with ProcessPoolExecutor(12, multiprocessing.get_context("spawn")) as pool:  # compiling is what takes long
        failed = {job: why for job, why in zip(jobs, pool.map(compiled, jobs), strict=True) if why}
    print(f"{len(jobs)} compiled in {time.perf_counter() - start:.0f} s", *failed.values(), sep="\n", flush=True)
    for layer in layers:
        show(layer, graphs_ms(calls_of(layer, batch, True), rounds))
        if tiles:
            cuts, x = [cut for cut in cuts_of(layer) if (layer, batch, cut) not in failed], images(layer, batch, True)
            times = graphs_ms({str(cut): functools.partial(fused(layer, cut), x) for cut in cuts}, 10)
            for cut in sorted(times, key=times.__getitem__)[:5]:
                print(f"    {times[cut]:.4f} Tiles{cut}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda", action="store_true")
    parser.add_argument("--tiles", action="store_true")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--alpha", type=float, nargs="+", default=[1 / 2, 1 / 4, 1 / 8])
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.backends.cudnn.benchmark = True
    layers = [(*layer, alpha, arguments.groups) for layer in LAYERS for alpha in arguments.alpha]
    if arguments.cuda:
        on_gpu(layers, arguments.batch or 64, arguments.rounds, arguments.tiles)
        return
    for layer in layers:
        show(layer, medians_ms(calls_of(layer, arguments.batch or 1, False), arguments.rounds))


if __name__ == "__main__":
    main()
