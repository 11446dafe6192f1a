"""One trial on Ray Tune: a candidate's judging, a step at a time; the process is used again for the next candidate."""

import json
from typing import Any

from ray import tune

from trainers.judges.base import Judge


class Trial(tune.Trainable):
    """``config["architecture"]`` is a target architecture, as JSON. Each step's result is the judge's report."""

    def setup(self, config: dict[str, Any], judge: Judge, checkpoints: str | None) -> None:
        self.judge, self.checkpoints = judge, checkpoints
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        file = None if self.checkpoints is None else f"{self.checkpoints}/{new_config['file']}.pt"
        self.judging = self.judge.begin(json.loads(new_config["architecture"]), file, new_config["seed"])
        return True

    def step(self) -> dict[str, Any]:
        report = self.judging.step()
        return {
            "report": report,
            "accuracy": report.accuracy or 0.0,
            "epoch": report.epoch,
            "done": report.status.is_final,
        }
