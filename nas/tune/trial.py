"""A trial: one proxy network, trained epoch by epoch as a Ray Tune class Trainable whose actor is reused."""

import json
import platform
import time
import traceback
from typing import Any

import torch
from ray import tune

from search_spaces import Architecture, proxy_of
from trainers import checkpoint
from trainers.data import ImageData
from trainers.proxy import DivergedError, ProxyTraining, out_of_memory
from trainers.recipe import Recipe


class ProxyTrial(tune.Trainable):
    """``config["architecture"]`` is a target architecture, as JSON; its proxy is trained, one epoch a step.

    Everything that a step reports goes into the ledger. A training that diverges, or fails for its own fault twice,
    ends its trial with a ``reason``. One whose process dies goes on from its last checkpoint in another process: after
    each epoch it is written to ``checkpoints``, a folder that all trials can reach, under the architecture's key.
    """

    def setup(
        self,
        config: dict[str, Any],
        data: ImageData,
        recipe: Recipe,
        seed: int,
        proxy: dict[str, float],
        device: str,
        threads: int,
        checkpoints: str | None,
    ) -> None:
        torch.set_num_threads(threads)
        self.data, self.recipe, self.seed, self.proxy = data.to(torch.device(device)), recipe, seed, proxy
        self.checkpoints = checkpoints
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self.target = Architecture.from_dict(json.loads(config["architecture"]))
        self.file = None if self.checkpoints is None else f"{self.checkpoints}/{config['key']}.pt"
        self.started, self.train_s, self.faults = time.time(), 0.0, 0
        self.starts: list[float] = []
        self.unwritten: str | None = None
        self._build(micro_batches=1)

    def _build(self, micro_batches: int) -> None:
        """The training as its last checkpoint left it, or from the beginning."""
        self.accuracies: list[float] = []
        self.losses: list[float] = []
        proxy, self.substituted = proxy_of(
            self.target,
            width=self.proxy["width"],
            resolution=int(self.proxy["resolution"]),
            classes=self.data.classes,
        )
        torch.manual_seed(self.seed)
        self.training = ProxyTraining(proxy.build(), self.data, self.recipe, self.seed, micro_batches)
        saved = None if self.file is None else checkpoint.load(self.file, self.training.device)
        if saved is not None:
            self.training.load_state(saved["training"])
            progress = saved["progress"]
            self.accuracies, self.losses = progress["accuracies"], progress["losses"]
            self.train_s, self.started, self.starts = progress["train_s"], progress["started"], progress["starts"]
        self.starts.append(time.time())

    def step(self) -> dict[str, Any]:
        start = time.perf_counter()
        try:
            return self._step(start)
        except DivergedError as error:
            return self._failed(start, str(error))
        except Exception as error:  # its own fault, most likely: once more from the checkpoint, then it is recorded
            self.faults += 1
            if self.faults > 1:
                return self._failed(start, f"{type(error).__name__}: {error}", traceback.format_exc())
            half = 2 * self.training.micro_batches if out_of_memory(error) else self.training.micro_batches
        self.training.release()
        self._build(half)
        return self.step()

    def _step(self, start: float) -> dict[str, Any]:
        if not self.training.done:  # or its last epoch was trained before its process died
            result = self.training.run_epoch()
            self.accuracies.append(result.accuracy)
            self.losses.append(result.loss)
        last = {"test_accuracy": self.training.test_accuracy(), "done": True} if self.training.done else {}
        report = {**self._report(start), "accuracy": self.accuracies[-1], **last}
        self._save()
        return {**report, "unwritten": self.unwritten}

    def _failed(self, start: float, reason: str, where: str | None = None) -> dict[str, Any]:
        return {**self._report(start), "accuracy": 0.0, "reason": reason, "traceback": where, "done": True}

    def _report(self, start: float) -> dict[str, Any]:
        """What the ledger says of the trial so far, but its accuracy."""
        self.train_s += time.perf_counter() - start
        cuda = self.training.device.type == "cuda"
        return {
            "epoch": self.training.epoch,
            "accuracy_by_epoch": list(self.accuracies),
            "loss_by_epoch": list(self.losses),
            "started": self.started,
            "ended": time.time(),
            "train_s": self.train_s,
            "starts": list(self.starts),
            "substituted": list(self.substituted),
            "node": platform.node(),
            "device": torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} thread(s)",
        }

    def _save(self) -> None:
        """A checkpoint that can't be written (a full disk) is said, and the training goes on."""
        progress = {
            "accuracies": self.accuracies,
            "losses": self.losses,
            "train_s": self.train_s,
            "started": self.started,
            "starts": self.starts,
        }
        try:
            if self.file is not None:
                checkpoint.save(self.file, {"training": self.training.state(), "progress": progress})
        except OSError as error:
            self.unwritten = f"{self.file}: {error.strerror or error}"
