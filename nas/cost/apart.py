"""Costs measured in a process of its own, since that leaves much behind: 500 MiB of torch's caches, a CUDA context."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

import torch

from search_spaces import Space
from search_spaces.backbones.foreign import OWN, Own, given
from search_spaces.checks import BadInput

from ..form import Form
from ..metrics import METRICS, Metric
from .table import CostTable, measure

SERVE = "from nas.cost.apart import serve; serve()"


def measure_apart(space: Space, form: Form, progress: Callable[[str], None]) -> CostTable:
    """``measure``, elsewhere on this machine, with as many threads as here.

    The process is a plain one, not one of ``multiprocessing``, which would run a user's script again; it imports what
    this one does, in the same order of places (``-P``: the working folder is none by itself).

    Raises:
        BadInput: as ``measure``, there.
        RuntimeError: the process died; what it said stands above.
    """
    models = given(space.backbone.name)
    try:
        known = pickle.dumps((models, METRICS))
    except (pickle.PicklingError, AttributeError, TypeError):
        known = b"__main__"  # a function within another, for instance
    if b"__main__" in known:  # a script's own metric or network: no other process can import it
        return measure(space, form, progress)
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    command, settings = [sys.executable, "-P", "-c", SERVE], {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, env=settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with suppress(BrokenPipeError), process.stdin as pipe:
                pickle.dump((known, space, form, torch.get_num_threads()), pipe)
            while isinstance(said := pickle.load(process.stdout), str):
                progress(said)
            if isinstance(said, BadInput):
                raise said
            return said
        except (EOFError, pickle.UnpicklingError):
            code = process.wait()
            raise RuntimeError(f"the process that measures the costs died, exit code {code}") from None
        finally:
            process.kill()


def measure_there(models: Mapping[str, Own], metrics: Mapping[str, Metric], space: Space, form: Form) -> CostTable:
    """``measure``, in a process of a cluster that has the device to itself; what the user added comes along."""
    OWN.update(models)
    torch.set_num_threads(1)
    return measure(space, form, lambda text: None, metrics)


def serve() -> None:
    """The other side: asked on the standard input, answered on what was the standard output."""
    with os.fdopen(os.dup(1), "wb") as channel:
        os.dup2(2, 1)  # whatever else is printed is no answer

        def send(answer: str | CostTable | BadInput) -> None:
            pickle.dump(answer, channel)
            channel.flush()

        known, space, form, threads = pickle.load(sys.stdin.buffer)
        models, metrics = pickle.loads(known)
        OWN.update(models)
        torch.set_num_threads(threads)
        with suppress(BrokenPipeError, KeyboardInterrupt):  # nobody waits for it any more
            try:
                send(measure(space, form, send, metrics))
            except BadInput as error:
                send(error)
