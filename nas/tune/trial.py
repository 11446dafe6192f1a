"""One trial on Ray Tune: a candidate's judging, a step at a time; the process is used again for the next candidate."""

import json
from typing import Any

from ray import tune
from setproctitle import setproctitle

from trainers.judges.base import Judge


class Trial(tune.Trainable):
    """``config["architecture"]`` is a target architecture, as JSON. Each step's result is the judge's report.

    Its process is called by the run and the trial while it trains, as the dashboard's list of workers shows it. (The
    actor's name stays the run's: the next trial has the same actor.)
    """

    def setup(self, config: dict[str, Any], judge: Judge, checkpoints: str | None) -> None:
        self.judge, self.checkpoints = judge, checkpoints
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        file = None if self.checkpoints is None else f"{self.checkpoints}/{new_config['file']}.pt"
        self.title, self.accuracy = new_config["title"], ""
        self.judging = self.judge.begin(json.loads(new_config["architecture"]), file, new_config["seed"])
        return True

    def step(self) -> dict[str, Any]:
        setproctitle(f"ray::{self.title}{self.accuracy}")
        report = self.judging.step()
        self.accuracy = "" if report.accuracy is None else f" {report.accuracy:.1%}"
        return {
            "report": report,
            "accuracy": report.accuracy or 0.0,
            "epoch": report.epoch,
            "done": report.status.is_final,
        }
