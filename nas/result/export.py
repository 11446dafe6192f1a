"""What a run leaves behind: best.yaml and the front's architectures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from search_spaces import Space
from trainers.data import STAND_INS
from trainers.full.recipe import full_recipe

from ..budget import broken
from ..cost.table import CostTable
from ..front import pareto_front
from ..metrics import METRICS
from ..record import Record
from ..run import Run
from ..run.files import write_yaml
from ..run.provenance import provenance
from .found import Found, noise_in
from .measured import Measured
from .verdict import Standing

FEW = 8  # judgings, below which the single scores are believed rather than the model


@dataclass(frozen=True)
class Exporter:
    """Writes the architecture YAMLs of one run.

    Args:
        table: by which costs were had; ``device`` is this machine's, for what it says of itself.
    """

    run: Run
    space: Space
    table: CostTable
    device: torch.device

    def export(self, candidates: Sequence[Record], found: Found) -> Record | None:
        """Write front/*.yaml and best.yaml; returns the best (``best_of``)."""
        best = best_of(self.run, candidates, found)
        front = {f"{i:02d}-{r.key}.yaml": r for i, r in enumerate(self._front(candidates, found))}
        folder = self.run.folder / "front"
        for name, record in front.items():
            write_yaml(folder / name, self.document(record, found))
        for path in folder.glob("*.yaml"):
            if path.name not in front:
                path.unlink()  # of an earlier front
        if best is None:
            (self.run.folder / "best.yaml").unlink(missing_ok=True)
        else:
            write_yaml(self.run.folder / "best.yaml", self.document(best, found))
        return best

    def _front(self, candidates: Sequence[Record], found: Found) -> list[Record]:
        return pareto_front(candidates, noise_in(found.pool), self.table.resolutions)

    def document(self, record: Record, found: Found) -> dict[str, Any]:
        """An architecture YAML with all its sections."""
        question, measured = self.run.question, found.measured
        return {
            "space": question.space_name,
            **dict(record.architecture),
            "metrics": {
                "accuracy": record.accuracy,
                "test_accuracy": record.test_accuracy,
                **_with_errors(record, found),
                **measured.costs(record),
                "measured": self._how(record, measured),
            },
            "budget": [str(b) for b in question.budget],
            "training": self._training(),
            "provenance": {
                "run": self.run.folder.name,
                "id": self.run.id,
                "trial": record.name,
                "seed": record.seed,
                "judge": question.judge,
                "proxy": {
                    "width": question.proxy_width,
                    "resolution": question.proxy_resolution,
                    "dataset": question.dataset,
                    **asdict(question.recipe),
                },
                "substituted_in_proxy": list(record.substituted),
                "micro_batches": record.micro_batches,
                **provenance(self.device),
            },
        }

    def _how(self, record: Record, measured: Measured) -> dict[str, Any]:
        """How each figure was had."""
        dataset = self.run.question.dataset
        said: dict[str, Any] = {
            "accuracy": f"validation split of {dataset}, proxy network",
            "test_accuracy": f"test split of {dataset}, proxy network; not used by the search",
        }
        for name, metric in METRICS.items():
            if metric.meter is None:
                said[name] = metric.how
            elif name in measured.of(record):
                said[name] = self._whole(record, measured, name)
            else:
                said[name] = {**self._of_layers(name), "method": metric.how}
        return said

    def _whole(self, record: Record, measured: Measured, name: str) -> dict[str, Any]:
        """Of a figure that was measured of the whole network: the reading, beside what its layers had predicted."""
        known = measured.details.get(record.key, {}).get(name) or {"error": measured.of(record)[name][1]}
        how, reading = {**measured.how, **known.get("how", {})}, {n: v for n, v in known.items() if n != "how"}
        predicted = {"predicted": record.costs[name]} if name in record.costs else {}
        return {**how, "method": "whole network, in turn with vanilla", **reading, **predicted}

    def _of_layers(self, name: str) -> dict[str, Any]:
        found = self.table.predictions.get(name)
        said = {"device": self.table.device, "latency_on": self.table.latency_on}
        if found is None:
            return {key: value for key, value in said.items() if value}
        return {**said, "error": found.error, **({"doubt": found.doubt} if found.doubt else {})}

    def _training(self) -> dict[str, Any]:
        """The backbone's recipe, for the data that was searched on; where that was a stand-in, for the paper's."""
        backbone, dataset = self.space.backbone, self.run.question.dataset
        operators = {o.asked.operator for v in self.space.variables for o in v.options}
        is_detector = backbone.detector is not None
        real = None if dataset in STAND_INS or is_detector else dataset
        recipe = full_recipe(backbone.name, backbone.resolution, operators, real, is_detector)
        classes = self.run.document["data"]["classes"] if real else backbone.classes
        return {**asdict(recipe), "classes": classes}


def _with_errors(record: Record, found: Found) -> dict[str, Any]:
    """What is known of an accuracy beyond one score: its noise, the model's view, the final stage's."""
    said: dict[str, Any] = {}
    pool, verdict = found.pool, found.verdict
    if pool is not None and pool.noise is not None and record.accuracy is not None:
        said["accuracy_noise"] = {"std": pool.noise.std, "degrees_of_freedom": pool.noise.freedom}
    if pool is not None and record.key in pool.predicted:
        mean, std = pool.predicted[record.key]
        said["accuracy_by_model"] = {"mean": mean, "std": std}
    standing = None if verdict is None else verdict.of(record.key)
    if verdict is not None and standing is not None:
        said["final"] = {
            "accuracy": standing.accuracy,
            "error": verdict.error(standing) if verdict.freedom else None,
            "test_accuracy": standing.test_accuracy,
            "seeds": [r.seed for r in standing.trainings],
            "result": verdict.sentence(),
        }
    return said


def best_of(run: Run, candidates: Sequence[Record], found: Found) -> Record | None:
    """The best network within every budget: by the final stage, else by the model over all scores, else by its score.

    Where a whole network's measurement breaks a budget that the sum of its layers keeps, it can't be the best.
    """
    kept = [r for r in candidates if r.finished and not broken(run.question.budget, found.measured.sure_costs(r))]
    winner = None if found.verdict is None else found.verdict.best
    if winner is not None:
        return next((r for r in kept if r.key == winner.key), None) or _of_final(winner)
    pool = found.pool
    believed = pool is not None and len(pool.rows) >= FEW
    score = pool.mean if pool is not None and believed else (lambda r: r.accuracy or 0.0)
    return min(kept, key=lambda r: (-score(r), r.costs["flops"]), default=None)


def _of_final(standing: Standing) -> Record:
    """Of a network that no trial judged: it has no score that compares with theirs, but for the final stage's."""
    return replace(standing.trainings[0], name=standing.name, accuracy=None, test_accuracy=None)


def to_be_measured(
    run: Run,
    candidates: Sequence[Record],
    beside: Sequence[Record],
    noise: float,
    resolutions: Mapping[str, float] | None = None,
) -> list[Record]:
    """The front and what stands beside; all candidates where a budget must be kept by what is measured."""
    limited = any(METRICS[b.metric].meter is not None for b in run.question.budget)
    records = (*(candidates if limited else pareto_front(candidates, noise, resolutions)), *beside)
    return list({r.key: r for r in records if r.finished}.values())
