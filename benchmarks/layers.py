"""Single layers of ResNet-50 at 224 pixels: each inference form of SPConv, in turn with vanilla's convolution.

python benchmarks/layers.py [--batch 1] [--alpha 0.5 0.25 0.125] [--groups 2] [--rounds 60]     CPU, float32, one thread
python benchmarks/layers.py --cuda [--batch 64] [--tiles]                                        GPU, half precision

On a GPU each is a CUDA graph. ``--tiles`` tries several ways to cut the fused kernel's work, and prints the best.
Milliseconds are medians; the ratio is to the vanilla convolution, with the bias that a folded BatchNorm leaves.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from search_spaces import fold
from search_spaces.operators import SPConv2d

LAYERS = [(64, 56, 1), (128, 28, 1), (256, 14, 1), (512, 7, 1), (128, 56, 2), (256, 28, 2), (512, 14, 2)]
Call = Callable[[], object]


def forms_of(channels: int, size: int, stride: int, alpha: float, groups: int, on_gpu: bool) -> dict[str, nn.Module]:
    """The vanilla convolution, the folded operator, and its forms; in single precision, on the CPU."""
    operator = SPConv2d(channels, channels, stride=stride, alpha=alpha, groups=groups)
    folded = fold(nn.Sequential(operator, nn.BatchNorm2d(channels)))[0]
    vanilla = nn.Conv2d(channels, channels, 3, stride, 1)
    forms = {"vanilla": vanilla, "folded": folded}
    if on_gpu:
        forms = {name: form.cuda().half() for name, form in forms.items()}
    forms |= forms["folded"].forms((size, size), on_gpu)
    return {name: form.to(memory_format=torch.channels_last) for name, form in forms.items()}


def medians_ms(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """All in turn, ``rounds`` times."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) * 1e3 for name, t in times.items()}


def graph_of(form: nn.Module, x: Tensor, calls: int = 20) -> torch.cuda.CUDAGraph:
    """So many calls of it."""
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(3):
            form(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            form(x)
    return graph


def graphs_ms(graphs: dict[str, torch.cuda.CUDAGraph], rounds: int, calls: int = 20) -> dict[str, float]:
    """One call's milliseconds: medians of all in turn, by events."""
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(rounds):
        for name, graph in graphs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            times[name].append(start.elapsed_time(end) / calls)
    return {name: statistics.median(t) for name, t in times.items()}


def tiled(operator: SPConv2d, size: int, x: Tensor) -> dict[str, torch.cuda.CUDAGraph]:
    """The fused kernel, cut in several ways; what the GPU has no room for is left out."""
    from search_spaces.operators.spconv_triton import FusedSPConv, Tiles  # noqa: PLC0415  only where Triton is

    light = min(64, operator.in_channels - operator.representative)
    pixels = (size // operator.stride[0]) ** 2
    graphs = {}
    for rows, columns, warps, stages in itertools.product((64, 128, 256), (64, 128, 256), (4, 8), (2, 3, 4)):
        if columns > operator.out_channels or not 4096 <= rows * columns <= 32768:
            continue
        for heavy, within in itertools.product({min(c, max(16, operator.representative)) for c in (32, 64)}, (0, 1)):
            if within and not pixels <= rows < 4 * pixels:
                continue
            tiles = Tiles(rows, columns, heavy, max(16, light), warps, stages, bool(within))
            try:
                graphs[str(tiles)] = graph_of(FusedSPConv(operator, (size, size), tiles), x)
            except Exception as error:
                print(f"    {tiles}: {type(error).__name__}", flush=True)
    return graphs


def show(title: str, times: dict[str, float]) -> None:
    vanilla = times["vanilla"]
    cells = [f"{name} {t:.4f} ({t / vanilla:.2f})" for name, t in times.items()]
    print(f"{title:<26}" + "  ".join(cells), flush=True)


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
    batch = arguments.batch or (64 if arguments.cuda else 1)
    device, dtype = ("cuda", torch.float16) if arguments.cuda else ("cpu", torch.float32)
    for (channels, size, stride), alpha in itertools.product(LAYERS, arguments.alpha):
        forms = forms_of(channels, size, stride, alpha, arguments.groups, arguments.cuda)
        x = torch.randn(batch, channels, size, size, device=device, dtype=dtype)
        x = x.to(memory_format=torch.channels_last)
        title = f"{channels}@{size} stride {stride} α={alpha:g}"
        if not arguments.cuda:
            calls = {name: (lambda form=form, x=x: form(x)) for name, form in forms.items()}
            show(title, medians_ms(calls, arguments.rounds))
            continue
        graphs = {name: graph_of(form, x) for name, form in forms.items()}
        show(title, graphs_ms(graphs, arguments.rounds))
        if arguments.tiles:
            times = graphs_ms(tiled(forms["folded"], size, x), 10)
            for tiles in sorted(times, key=times.__getitem__)[:4]:
                print(f"    {times[tiles]:.4f} {tiles}", flush=True)


if __name__ == "__main__":
    main()
