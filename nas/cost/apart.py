"""Costs measured in a process of its own, since that leaves much behind: 500 MiB of torch's caches, a CUDA context."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch

from search_spaces import Space

from ..metrics import METRICS, Metric
from .table import CostTable, measure


def measure_apart(space: Space, device: torch.device, progress: Callable[[str], None]) -> CostTable:
    """``measure``, elsewhere on this machine, with as many threads as here.

    Raises:
        RuntimeError: the process died; what it said stands above.
    """
    context = get_context("spawn")  # a CUDA context, and torch's threads, do not survive a fork
    here, there = context.Pipe(duplex=False)
    process = context.Process(
        target=_measure_there, args=(there, space, device, torch.get_num_threads(), METRICS), daemon=True
    )
    process.start()
    there.close()
    try:
        while not isinstance(said := here.recv(), CostTable):
            progress(said)
        return said
    except EOFError:
        process.join()
        raise RuntimeError(f"the process that measures the costs died, exit code {process.exitcode}") from None
    finally:
        here.close()
        process.join()


def _measure_there(
    connection: Connection, space: Space, device: torch.device, threads: int, metrics: Mapping[str, Metric]
) -> None:
    torch.set_num_threads(threads)
    with suppress(BrokenPipeError, KeyboardInterrupt):  # nobody waits for it any more
        connection.send(measure(space, device, connection.send, metrics))
