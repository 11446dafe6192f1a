"""A training step on a GPU, recorded once as a CUDA graph and replayed: its thousand kernels are launched as one."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Learn = Callable[[Tensor, Tensor], Tensor]
WARM_UP = 3  # steps before the recording, in which libraries choose their algorithms and the optimiser makes its state


class Captured:
    """``learn(images, labels)``: the loss of one batch, whose gradients have been applied; as it is, but quicker.

    The first batches are learned from one by one, on a side stream as the recording demands; then the step is recorded,
    which computes nothing, and every further batch is copied to where the recording reads it. What can't be recorded (a
    network that waits for the GPU, no memory) is learned from one by one for ever, which ``why_not`` and a warning say.

    Args:
        learn: forward, backward and the optimiser's step, of fixed shapes, without waiting for the GPU.
        forget: clears the gradients, so that the next ``learn`` makes new ones.
    """

    def __init__(self, learn: Learn, forget: Callable[[], None]) -> None:
        self.learn, self.forget = learn, forget
        self.seen, self.why_not = 0, ""
        self.graph: torch.cuda.CUDAGraph | None = None
        self.images, self.labels, self.loss = (torch.empty(0) for _ in range(3))  # the recording's own

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss stays right until the next call."""
        if self.seen < WARM_UP:
            return self._warm_up(images, labels)
        if self.graph is None and not self.why_not:
            self._record(images, labels)
        if self.graph is None or images.shape != self.images.shape:
            self.forget()  # the recording's gradients, which are not to be added to
            return self._plainly(images, labels)
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.graph.replay()
        return self.loss

    def _plainly(self, images: Tensor, labels: Tensor) -> Tensor:
        loss = self.learn(images, labels)
        self.forget()
        return loss

    def _warm_up(self, images: Tensor, labels: Tensor) -> Tensor:
        self.seen += 1
        here, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(here)
        with torch.cuda.stream(side), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True")  # of an optimiser that isn't recorded yet
            loss = self._plainly(images, labels)
        here.wait_stream(side)
        return loss

    def _record(self, images: Tensor, labels: Tensor) -> None:
        here, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        self.images, self.labels = images.clone(), labels.clone()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.loss = self.learn(self.images, self.labels)
            self.graph = graph
        except RuntimeError as error:
            torch.cuda.set_stream(here)  # where a recording that fails doesn't return by itself
            self.forget()
            self.why_not = str(error).splitlines()[0]
            warnings.warn(f"the training step can't be recorded as a CUDA graph: {self.why_not}", stacklevel=2)
