"""One full training by several processes: Ray Train places them, on this machine or over a cluster."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty
from tempfile import TemporaryDirectory
from typing import Any

import ray.train
import torch
from ray.train import RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Queue

from search_spaces.backbones.foreign import OWN, Own
from search_spaces.checks import BadInput

from ..full import program
from ..full.team import Team
from ..proxy import DivergedError
from .connection import connected

POLL_S = 0.2
EXPECTED = (BadInput, DivergedError)  # errors that are one line


def train_together(
    folder: Path, place: tuple[int, str, str | None, bool], models: Mapping[str, Own], how: program.How
) -> Path:
    """Train what is in ``folder`` to its end; returns its ``trained.yaml``.

    All processes read and write the folder, and read the data where it is: on a cluster both are shared.

    Args:
        place: how many processes, the device of each, the address of a cluster that is joined or ``None``, and whether
            that may be one that asks for no token.

    Raises:
        BadInput: no cluster, or none that has room for as many; or what a process found wrong.
    """
    workers, device, address, unlocked = place
    kind = "GPU" if device == "cuda" else "CPU"
    with connected(address, unlocked) as cluster, TemporaryDirectory() as scratch:
        has = ray.cluster_resources().get(kind, 0)
        if has < workers:
            raise BadInput(f"--workers {workers} need as many {kind}s, Ray has {has:g}")
        how.say(cluster.login)
        queue = Queue(actor_options={"num_cpus": 0})
        config = {"folder": str(folder.resolve()), "models": dict(models), "queue": queue}
        config |= {"loaders": how.loaders, "log": how.log}
        trainer = TorchTrainer(
            _train,
            train_loop_config=config,
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=kind == "GPU"),
            run_config=RunConfig(name=folder.name, storage_path=scratch),
            torch_config=TorchConfig(backend="nccl" if kind == "GPU" else "gloo"),
        )
        _listen(trainer, queue, how)
    return folder / program.TRAINED


def _train(config: dict[str, Any]) -> None:
    """In each process."""
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    OWN.update(config["models"])
    context, queue = ray.train.get_context(), config["queue"]
    team = Team(context.get_world_rank(), context.get_world_size())

    def say(line: str) -> None:
        if team.leads:
            queue.put(("say", line))

    def stepped(epoch: int, step: int, steps: int) -> None:
        if team.leads:
            queue.put(("stepped", epoch, step, steps))

    program.go_on(Path(config["folder"]), program.How(config["loaders"], config["log"], say, stepped, team))


def _listen(trainer: TorchTrainer, queue: Queue, how: program.How) -> None:
    """Run it, and pass on what the leader says meanwhile."""
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            trainer.fit()
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive() or not queue.empty():
        _pass_on(queue, {"say": how.say, "stepped": how.stepped})
    if ended and ended[0] is not None:
        raise _plain(ended[0])


def _pass_on(queue: Queue, told: Mapping[str, Callable[..., None]]) -> None:
    try:
        what, *words = queue.get(timeout=POLL_S)
    except Empty:
        return
    told[what](*words)


def _plain(error: BaseException) -> BaseException:
    """What a process found wrong with the input, in one line; any other error as it is."""
    failures = getattr(error, "worker_failures", {}) if isinstance(error, TrainingFailedError) else {}
    for failure in failures.values():
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, EXPECTED):
            return BadInput(str(cause))
    return error
