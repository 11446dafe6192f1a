"""Does ending trials early pay? The real trainings of ``table.py``'s record as searches, with a stopping rule or none.

    python benchmarks/early_stopping.py --output benchmarks/results/early_stopping.json

Each search takes its trials from the record, within a budget: at random, or each time the one that a draw from the
additive model favours within a limit on FLOPs, as the sampler ``additive`` does, the uniform settings first. Learning
curves, final scores and costs are what was measured; the rule and what the model is told of a stopped trial are the
real ones. Of each: the epochs that were trained, as a share of all, and the hypervolume of what was finished, by what
the surrogate of all trainings says of it, and by its scores, where one that was lucky counts.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import judging
import numpy as np
import surrogate
import table

from nas.cost.table import build_table
from nas.curves import expected
from nas.form import parse_form
from nas.model import Model
from nas.preparation import feasible_set
from nas.prior import Prior
from nas.question import asked as question_of
from nas.record import Record
from nas.samplers.additive import AT_THE_LIMIT, BOLDNESS
from nas.samplers.problem import problem
from nas.stopping import STOPPING
from nas.uniform import compared_with
from search_spaces import Architecture
from trainers.report import Status

Told = list[tuple[int, float]]  # which of the pool, and its score or what is expected of it
Order = Callable[[Told, set[int]], int]


class Pool:
    """What was trained within a budget: ``records``, ``rows`` of option indices, ``flops``."""

    def __init__(self, known: surrogate.Table, budget: str) -> None:
        costs = build_table(known.space, parse_form("cpu"), Path("results/.cache"))
        question = question_of({"space": table.SPACE, "budget": budget})
        limit, feasible = question.budget[0].limit, feasible_set(known.space, costs, question)
        self.problem = replace(problem(known.space, costs, feasible, 100), sensitivity=lambda: known.sensitivity)
        self.prior = Prior.of(known.space, known.flops, known.sensitivity)
        self.records: list[Record] = []
        for row, t in zip(known.rows, known.first, strict=True):
            architecture = known.space.architecture(row.tolist())
            if (total := costs.total(architecture))["flops"] <= limit:
                self.records.append(record_of(t, architecture, total))
        names = [surrogate.row_of(r.name) for r in self.records]
        self.rows = np.array(names)
        self.flops = np.array([r.costs["flops"] for r in self.records])
        self.limit = limit
        self.scores = {r.name: 100 * (r.accuracy or 0.0) for r in self.records}
        self.true = dict(zip(self.scores, surrogate.surrogate(known)(self.rows).tolist(), strict=True))
        beside = {known.space.indices(a) for a in compared_with(known.space, costs, question.budget).values()}
        self.starts = [i for i, name in enumerate(names) if name in beside]

    def hypervolume(self, finished: Sequence[Record], worth: Mapping[str, float]) -> float:
        """By ``worth`` above the worst of the pool and FLOPs below the budget, as a share of the whole rectangle."""
        least, worst, best = float(self.flops.min()), min(worth.values()), max(worth.values())
        volume = highest = 0.0
        for r in sorted(finished, key=lambda r: r.costs["flops"]):
            gained = (worth[r.name] - worst) / (best - worst)
            if gained > highest:
                left = (self.limit - r.costs["flops"]) / (self.limit - least)
                volume, highest = volume + left * (gained - highest), gained
        return volume


def record_of(training: dict[str, Any], architecture: Architecture, costs: dict[str, float]) -> Record:
    curve = tuple(training["by_epoch"])
    return Record(
        name=training["name"],
        key=training["name"],
        architecture=architecture.to_dict(),
        costs=costs,
        seed=0,
        status=Status.FINISHED,
        accuracy=training["accuracy"],
        initial_accuracy=training.get("initial_accuracy"),
        accuracy_by_epoch=curve,
        loss_by_epoch=(0.0,) * len(curve),
    )


def shown(record: Record) -> Iterator[Record]:
    """What was known of it, epoch by epoch, before its last one had ended."""
    for epoch in range(len(record.accuracy_by_epoch)):
        curve, losses = record.accuracy_by_epoch[:epoch], record.loss_by_epoch[:epoch]
        accuracy = curve[-1] if curve else None
        yield replace(record, status=Status.RUNNING, accuracy=accuracy, accuracy_by_epoch=curve, loss_by_epoch=losses)


def random(pool: Pool, rng: np.random.Generator) -> Order:
    order = iter(rng.permutation(len(pool.records)).tolist())
    return lambda told, taken: next(order)


def additive(pool: Pool, rng: np.random.Generator) -> Order:
    starts = iter(pool.starts)

    def choose(told: Told, taken: set[int]) -> int:
        if (first := next(starts, None)) is not None:
            return first
        rows, scores = pool.rows[[i for i, _ in told]], np.array([s for _, s in told])
        effects = Model.fit(pool.prior, rows, scores).sample(rng, BOLDNESS)
        worth = np.sum([e[pool.rows[:, i]] for i, e in enumerate(effects)], axis=0)
        low, high = pool.flops.min(), pool.limit
        limit = high if rng.random() < AT_THE_LIMIT else rng.uniform(low, high)
        free = np.array([i not in taken for i in range(len(pool.records))])
        inside = free & (pool.flops <= limit)
        return int(np.where(inside if inside.any() else free, worth, -np.inf).argmax())

    return choose


ORDERS: dict[str, Callable[[Pool, np.random.Generator], Order]] = {"random": random, "additive": additive}


def searched(pool: Pool, order: str, stop: str, trials: int, seed: int) -> dict[str, float]:
    """One search: the share of epochs, the hypervolume, and how many of its trials were stopped."""
    choose, rule = ORDERS[order](pool, np.random.default_rng(seed)), STOPPING[stop](pool.problem)
    ended: list[Record] = []
    told: Told = []
    taken: set[int] = set()
    epochs = 0
    for _ in range(trials):
        i = choose(told, taken)
        taken.add(i)
        record = pool.records[i]
        for running in shown(record):
            if rule(running, ended) is not None:
                record = replace(running, status=Status.STOPPED)
                break
        epochs += record.epoch
        prediction = None if record.finished else expected(record, ended)
        score = record.accuracy if prediction is None else prediction[0]
        if score is not None:
            told.append((i, 100 * score))
        ended.append(record)
    whole = sum(len(pool.records[i].accuracy_by_epoch) for i in taken)
    finished = [r for r in ended if r.finished]
    return {
        "epochs": epochs / whole,
        "hypervolume": pool.hypervolume(finished, pool.true),
        "by scores": pool.hypervolume(finished, pool.scores),
        "stopped": (len(ended) - len(finished)) / len(ended),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=surrogate.TABLE)
    parser.add_argument("--trials", type=int, nargs="+", default=[40, 100, 200])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    known = surrogate.Table.read(asked.table)
    lines = []
    for budget in table.BUDGETS:
        pool = Pool(known, budget)
        for order in ORDERS:
            for trials in asked.trials:
                if trials > len(pool.records):
                    continue
                each = {s: [searched(pool, order, s, trials, i) for i in range(asked.seeds)] for s in STOPPING}
                line: dict[str, Any] = {"budget": budget, "trained": len(pool.records), "order": order}
                line["trials"] = trials
                for stop, found in each.items():
                    for figure in ("epochs", "hypervolume", "by scores", "stopped"):
                        line[f"{figure}, {stop}"] = round(statistics.median(f[figure] for f in found), 3)
                pairs = zip(each["front"], each["none"], strict=True)
                apart = [f["hypervolume"] - n["hypervolume"] for f, n in pairs]
                error = statistics.stdev(apart) / len(apart) ** 0.5 if len(apart) > 1 else 0.0
                line["hypervolume lost"] = [round(-statistics.fmean(apart), 4), round(error, 4)]
                lines.append(line)
                print(json.dumps(line), flush=True)
    if asked.output:
        rows = ",\n".join("  " + json.dumps(line) for line in lines)
        head = {"device": judging.device(), "seeds": asked.seeds, "table": len(known.points)}
        asked.output.write_text(json.dumps(head, indent=1)[:-2] + ',\n "searches": [\n' + rows + "\n ]\n}\n")


if __name__ == "__main__":
    main()
