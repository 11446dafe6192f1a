"""Latency of deployed networks: beside vanilla, in turn with it, alone on the device, in the form that is deployed.

A candidate's milliseconds are its ratio to vanilla times vanilla's, so that figures of different hours compare.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from search_spaces import fold
from search_spaces.late import Late
from search_spaces.operators import Operator
from search_spaces.shuffles import fold_shuffles
from trainers.memory import keep_freed_memory
from trainers.turns import measuring_on

from ..form import DTYPES, Form
from .clock import WORST, Clock, Pass, Sample, Timing, cpu_pass
from .device import conditions, describe, gpu_processes

Shape = tuple[int, int, int]
Make = Callable[[], nn.Module]
LAYER_AIM, LAYER_S, LAYER_ROUNDS = 0.01, 0.4, 5  # a layer's ratio, of which a table has hundreds
LAYER_WORST = 0.1  # of a network a layer is a part, and whole networks show what all of them get wrong
LAYOUT_ROUNDS, LAYOUT_S = 3, 1.0
EAGERLY = "no CUDA graph could be recorded, so that it was timed eagerly"
VANILLA_ROUNDS, VANILLA_S = 9, 10.0
FASTER = 0.99  # of the time of what is there: another form or layout must take less
LEAST_GPU_MS = 2.0  # of one sample there, in as many replays as that takes
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
_onnx_run = Late("nas.cost.onnx_run", "onnx_run")  # its libraries are an extra


@dataclass(frozen=True)
class Reading:
    """One network's latency.

    Args:
        ms: milliseconds an image; ``error`` is the standard error, in ms, of what its ratio says.
        quartiles: of the passes, in ms an image, as they were.
        ratio: to vanilla, in turn with it; ``ratio_error`` is its standard error, a share of it.
        eager_ms: without a CUDA graph, where ``ms`` is with one.
        doubt: why it can't be trusted; empty where it can.
    """

    ms: float
    error: float
    quartiles: tuple[float, float]
    ratio: float
    ratio_error: float
    rounds: int
    layout: str = ""
    eager_ms: float | None = None
    doubt: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without those that are not known."""
        plain = {**asdict(self), "quartiles": list(self.quartiles)}
        return {name: value for name, value in plain.items() if value not in (None, "")}


class Meter:
    """Measures layers and networks in one form on this machine's device.

    It keeps which form of an operator was fastest, by what the operator is and the size of its input.
    """

    def __init__(self, form: Form, clock: Clock | None = None) -> None:
        keep_freed_memory()
        if form.runner == "cuda":
            torch.backends.cudnn.benchmark = True  # each convolution by what is fastest, as it would be deployed
        self.form = form
        self.device = torch.device(form.device)
        self.clock = clock or Clock(on_cpu=form.device == "cpu")
        self.layout = "channels_last"
        self.chosen: dict[tuple[object, ...], str] = {}
        self._beside: tuple[nn.Module, Pass] | None = None

    def how(self) -> dict[str, Any]:
        """What stands beside every figure."""
        return {**describe(self.form), **conditions(self.form)}

    def layer(self, layer: nn.Module, beside: nn.Module, shape: Shape) -> Timing:
        """``layer`` in turn with ``beside``, the vanilla layer in its place, each as it would be deployed.

        The first is timed by its ratio; ``ms`` are those of one image.
        """
        if self._beside is None or self._beside[0] is not beside:  # the same for all choices of a slot
            self._beside = beside, self._pass(self.deployed(beside, shape), shape, self.layout)
        passes = [self._beside[1], self._pass(self.deployed(layer, shape), shape, self.layout)]
        vanilla, timing = self._in_turn(passes, LAYER_AIM, LAYER_S, LAYER_ROUNDS, worst=LAYER_WORST)
        return replace(timing, ms=timing.ratio * vanilla.ms / self.form.batch)

    def networks(
        self, vanilla: Make, others: Sequence[Make], shape: Shape, most_s: float = 120.0, base_ms: float | None = None
    ) -> Iterator[Reading]:
        """Vanilla, then each of the others beside it, two of them in memory at a time.

        Args:
            most_s: about how long all others may take, building not counted.
            base_ms: vanilla's milliseconds an image, where they are known from before.
        """
        with self._alone():  # all of one network: trainings wait once
            first = self.deployed(vanilla(), shape)
            self.layout = layout = self._faster_layout(first, shape, least=LAYOUT_ROUNDS)
            base = self._pass(first, shape, layout)
            (alone,) = self._in_turn([base], 0.0, VANILLA_S, VANILLA_ROUNDS)
            eager_ms = self._eager_ms(first, shape, layout)
        doubt = f"vanilla: {alone.doubt}" if base_ms is None and alone.doubt else ""  # its time is in all figures
        alone = replace(alone, doubt=alone.doubt if base_ms is None else "")
        base_ms = alone.ms / self.form.batch if base_ms is None else base_ms
        yield self._reading(alone, base_ms, layout, eager_ms)
        each = min(20.0, max(2.0, most_s / max(1, len(others))))
        for make in others:
            with self._alone():
                network = self.deployed(make(), shape)
                layout = self._faster_layout(network, shape)
                _, timing = self._in_turn([base, self._pass(network, shape, layout)], self.clock.aim, each)
                eager_ms = self._eager_ms(network, shape, layout)
            yield self._reading(replace(timing, doubt=timing.doubt or doubt), base_ms, layout, eager_ms)

    def deployed(self, network: nn.Module, shape: Shape) -> nn.Module:
        """A copy, folded, shuffles too, each operator in the form that is fastest in its place."""
        folded = fold_shuffles(fold(network))
        sizes = _input_sizes(folded, shape)
        for operator, size in sizes.items():
            made = self._fastest(operator, size)
            if made is operator:
                continue
            if operator is folded:
                return made
            _put(folded, operator, made)
        return folded

    def _fastest(self, operator: Operator, size: tuple[int, int]) -> nn.Module:
        runner = self.form.runner
        other = operator.graph_forms(size) if runner == "onnxruntime" else operator.forms(size, runner == "cuda")
        forms: dict[str, nn.Module] = {"": operator, **other}
        if len(forms) == 1 or self.clock.hurried:
            return operator
        key = _signature(operator, size)
        if key not in self.chosen:
            shape = (operator.in_channels, *size)
            passes = [self._pass(form, shape, self.layout) for form in forms.values()]
            timings = self._in_turn(passes, LAYER_AIM, LAYER_S, worst=LAYER_WORST)
            ratios = dict(zip(forms, (t.ratio for t in timings), strict=True))
            best = min(ratios, key=lambda name: ratios[name])
            best = best if ratios[best] < FASTER else ""
            if any(timing.doubt for timing in timings):
                return forms[best]  # the next time it is looked at again
            self.chosen[key] = best
        return forms[self.chosen[key]]

    def _faster_layout(self, network: nn.Module, shape: Shape, least: int = 1) -> str:
        if self.form.runner != "cpu" or self.clock.hurried:
            return "" if self.form.runner == "onnxruntime" else "channels_last"
        passes = [self._pass(network, shape, layout) for layout in LAYOUTS]
        timings = self._in_turn(passes, 0.05, LAYOUT_S, LAYOUT_ROUNDS, least=least)
        return list(LAYOUTS)[int(timings[1].ratio < FASTER)]

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """On the device; whether nobody else is. What was waited for that is taken off the clock's patience."""
        start = time.monotonic()
        with measuring_on(self.device, max(0.0, self.clock.patience_s)) as alone:
            self.clock.patience_s -= time.monotonic() - start
            yield alone

    def _in_turn(
        self,
        passes: Sequence[Pass],
        aim: float,
        most_s: float,
        rounds: int = 3,
        least: int = 3,
        worst: float = WORST,
    ) -> list[Timing]:
        """By the clock, alone on the device."""
        with self._alone() as alone:
            clock = replace(self.clock, aim=aim, most_s=most_s, worst=worst)
            timings = clock.in_turn(passes, rounds, least)
            self.clock.patience_s = clock.patience_s
        doubt = "" if alone else "a training or another measurement on the device did not give way"
        doubt = doubt or (EAGERLY if any(isinstance(run, _Eager) for run in passes) else "")
        return [replace(t, doubt=t.doubt or doubt) for t in timings]

    def _pass(self, network: nn.Module, shape: Shape, layout: str) -> Pass:
        if self.form.runner == "onnxruntime":
            return cpu_pass(_onnx_run(network, shape, self.form.batch))
        module, images = self._placed(network, shape, layout)
        if self.form.runner == "cuda":
            return _replayed(module, images)
        return cpu_pass(lambda: _forward(module, images))

    def _placed(self, network: nn.Module, shape: Shape, layout: str) -> tuple[nn.Module, torch.Tensor]:
        """On the device, in the form's type; a copy where that is another one."""
        dtype, memory = getattr(torch, DTYPES[self.form.dtype]), LAYOUTS[layout]
        module = copy.deepcopy(network).to(self.device, dtype)
        module = module.to(memory_format=memory)
        images = torch.randn(self.form.batch, *shape).to(self.device, dtype).contiguous(memory_format=memory)
        return module, images

    def _eager_ms(self, network: nn.Module, shape: Shape, layout: str) -> float | None:
        if self.form.runner != "cuda":
            return None
        module, images = self._placed(network, shape, layout)
        (timing,) = self._in_turn([_by_events(lambda: _forward(module, images))], 0.0, VANILLA_S, VANILLA_ROUNDS)
        return timing.ms / self.form.batch

    def _reading(self, timing: Timing, base_ms: float, layout: str, eager_ms: float | None) -> Reading:
        low, high = (q / self.form.batch for q in timing.quartiles)
        ms = timing.ratio * base_ms
        doubt = timing.doubt
        if self.form.runner == "cuda" and not doubt and (gpu_processes() or 1) > 1:
            doubt = "other processes compute on the GPU"
        return Reading(
            ms=ms,
            error=timing.error * ms,
            quartiles=(low, high),
            ratio=timing.ratio,
            ratio_error=timing.error,
            rounds=timing.rounds,
            layout=layout,
            eager_ms=eager_ms,
            doubt=doubt,
        )


@dataclass(frozen=True)
class _Eager:
    """A pass that could not be recorded as a CUDA graph."""

    run: Pass

    def __call__(self) -> Sample:
        return self.run()


@torch.inference_mode()
def _forward(module: nn.Module, images: torch.Tensor) -> object:
    return module(images)


def _replayed(module: nn.Module, images: torch.Tensor) -> Pass:
    """A forward captured as a CUDA graph and replayed; eager where it can't be captured."""
    here, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(here)
    with torch.cuda.stream(side):
        for _ in range(3):
            _forward(module, images)
    here.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            _forward(module, images)
    except RuntimeError:
        torch.cuda.set_stream(here)  # where a recording that fails doesn't return by itself
        torch.cuda.synchronize()
        return _Eager(_by_events(lambda: _forward(module, images)))

    def replay() -> tuple[object, ...]:
        graph.replay()
        return module, images  # which the graph reads, and does not hold

    return _by_events(replay)


def _by_events(run: Callable[[], object]) -> Pass:
    """Timed by the device's own events: one sample is the mean of as many runs as make up two milliseconds."""

    def timed(times: int) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(times):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / times

    timed(3)
    times = max(1, round(LEAST_GPU_MS / max(timed(3), 1e-3)))
    return lambda: Sample(timed(times))


def _input_sizes(network: nn.Module, shape: Shape) -> dict[Operator, tuple[int, int]]:
    """Each operator that is called → the height and width of what it reads."""
    sizes: dict[Operator, tuple[int, int]] = {}
    hooks = [
        m.register_forward_pre_hook(lambda module, inputs: sizes.update({module: tuple(inputs[0].shape[2:])}))
        for m in network.modules()
        if isinstance(m, Operator)
    ]
    if hooks:
        _forward(network, torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return sizes


def _signature(operator: Operator, size: tuple[int, int]) -> tuple[object, ...]:
    """What decides how fast its forms are."""
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in operator.state_dict().items())
    geometry = (operator.kernel_size, operator.stride, operator.padding, operator.dilation)
    return type(operator).__name__, operator.in_channels, operator.out_channels, geometry, shapes, size


def _put(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """In place of ``old``, under all its names."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child is old:
                setattr(parent, name, new)
