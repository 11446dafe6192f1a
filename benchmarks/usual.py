"""Trials an hour of the main job, and of the same search as it is usually written (``usual_way.py``).

    python benchmarks/usual.py --rounds 2 --output benchmarks/results/usual.json
    python benchmarks/usual.py --short     # does it run: a few images, figures that mean nothing

A round is a search of ours (``launch.py --space spconv_layerwise --budget 2.5GFLOPs``, without what it judges beside
its candidates), then the usual one, which is given the same architectures under the same seed to try first, by Optuna's
own ``points_to_evaluate``: so it is spared its rejected proposals, and each architecture is timed and scored in both
ways. Then it is left to its sampler for ``--proposals`` trials, to see what those that are over the budget cost it.

Time is counted alike for both: from the first proposal, when Ray is up, until each core has ended its last trial. So a
trial's process is paid for when one is started: for each trial in the usual way, for each core in ours (which few
trials make look dearer than a whole main job does). Ray's own start, the table of costs and what a search writes at its
end are not counted. Every search has a process of its own, so that
neither way has the settings that the other makes in its environment. Run it where nothing else runs: Ray starts its
processes with a lower priority, which ours alone does away with, so other work would slow the usual way down more.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import judging
import ray
import usual_way

from nas.candidates import Candidate
from nas.cost.table import build_table
from nas.form import parse_form
from nas.preparation import feasible_set
from nas.question import Question, asked
from nas.record import Record
from nas.searching import begin
from nas.watch.watch import Asked, Several, Watch
from search_spaces import load_space
from search_spaces.architecture import architecture_from
from trainers.data import DATASETS
from trainers.data.digits_on_photos import DigitsOnPhotos, load

SHORT: dict[str, Any] = {"epochs": 2, "images_per_epoch": 128}
FEW, SCORED = "a few digits_on_photos", 256
WAYS = ("ours", "usual")


class Clock(Watch):
    """When the first candidate was proposed, when each trial ended: Unix times; and how many cores Ray has."""

    def __init__(self) -> None:
        self.began_at: float | None = None
        self.ended_at: list[float] = []
        self.cores = 0

    def searches(self, asked: Asked, before: Sequence[Record]) -> None:
        self.cores = int(ray.cluster_resources()["CPU"])

    def began(self, candidate: Candidate, seconds: float) -> None:
        self.began_at = self.began_at or time.time() - seconds

    def ended(self, record: Record) -> None:
        self.ended_at.append(time.time())


def few(data_root: Path | None, resolution: int) -> DigitsOnPhotos:
    """The main job's data, of which few images are scored."""
    data = load(data_root, resolution)
    return replace(data, validation=data.validation[:SCORED], test=data.test[:SCORED])


def question_of(wanted: argparse.Namespace, seed: int) -> Question:
    """The main job's, but for what it judges beside its candidates."""
    DATASETS[FEW] = few
    alone = {"references": False, "repeats": 0, "final": 0, "device": "cpu"}
    about = {"space": wanted.space, "budget": wanted.budget, "trials": wanted.trials, "output": wanted.runs}
    question = asked({**about, **alone, "seed": seed, **({"dataset": FEW} if wanted.short else {})})
    if [budget.metric for budget in question.budget] != ["flops"] or question.budget[0].share is not None:
        raise SystemExit(f"--budget must be in FLOPs, which the usual way counts; got {wanted.budget}")
    return replace(question, recipe=replace(question.recipe, **SHORT)) if wanted.short else question


def ours(question: Question) -> dict[str, Any]:
    """A search from its question on, as ``launch.py`` does it."""
    DATASETS[FEW] = few
    clock = Clock()
    outcome = begin(question, Several([clock]))
    lines = []
    for record in outcome.candidates:
        if not record.finished:
            raise RuntimeError(f"{record.name}: {record.status}: {record.reason}")
        known = {"key": record.key, "architecture": record.architecture, "flops": record.costs["flops"]}
        assert record.started is not None
        assert record.ended is not None
        scores = {"accuracy": record.accuracy, "test_accuracy": record.test_accuracy}
        lines.append({**known, **scores, "seconds": record.ended - record.started, "cpu_s": record.cpu_s})
    return {"cores": clock.cores, "began": clock.began_at, "ended": clock.ended_at, "trials": lines}


def usual(
    question: Question, trials: int, cores: int, architectures: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """``architectures`` are tried first."""
    DATASETS[FEW] = few
    space = load_space(question.space)
    data = DATASETS[question.dataset](None, question.proxy_resolution)
    assert isinstance(data, DigitsOnPhotos)
    first = [space.indices(architecture_from(a)) for a in architectures]
    wanted = usual_way.Asked(
        space,
        question.budget[0].limit,
        question.recipe,
        question.proxy_width,
        question.proxy_resolution,
        question.seed,
    )
    return usual_way.search(wanted, data, trials, cores, [indices for indices in first if indices is not None])


def apart(way: Any, *arguments: Any) -> dict[str, Any]:
    """In a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(way, *arguments).result()


def core_seconds(found: Mapping[str, Any], cores: int) -> float:
    """From the beginning until each core has ended its last trial, summed over the cores that had any."""
    ended = sorted(found["ended"])
    return sum(end - found["began"] for end in ended[-cores:])


def share_within(question: Question) -> float:
    """Of random architectures of the space, those that keep the budget."""
    space = load_space(question.space)
    table = build_table(space, parse_form("cpu"), question.output / ".cache")
    return 10 ** (feasible_set(space, table, question).log10_size() - math.log10(space.size))


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The error is unknown, and given as 0, of a single one."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return statistics.fmean(values), error


def speed(found: Sequence[Mapping[str, Any]], cores: int) -> dict[str, Any]:
    """Of all searches of one way. ``around_s``: what a trial costs its core beside its own seconds."""
    seconds = [trial["seconds"] for one in found for trial in one["trials"]]
    whole, (mean, error) = sum(core_seconds(one, cores) for one in found), mean_and_error(seconds)
    return {
        "trials": len(seconds),
        "trials_an_hour": round(3600 * cores * len(seconds) / whole, 1),
        "error": round(3600 * cores * len(seconds) / whole * error / mean, 1),
        "seconds": [round(mean, 1), round(error, 1)],
        "cpu_s": round(statistics.fmean(trial["cpu_s"] for one in found for trial in one["trials"]), 1),
        "around_s": round((whole - sum(seconds)) / len(seconds), 1),
    }


def summary(rounds: Sequence[Mapping[str, Any]], cores: int) -> dict[str, Any]:
    """``ratio``: of trials an hour. ``accuracy``: points that the usual way scores one architecture above ours.

    ``ratio_cpu``: of the processor's seconds in trials, which other work disturbs less.
    """
    told: dict[str, Any] = {way: speed([found[way] for found in rounds], cores) for way in WAYS}
    ours_, usual_ = told["ours"], told["usual"]
    ratio = ours_["trials_an_hour"] / usual_["trials_an_hour"]
    relative = math.hypot(*(told[way]["error"] / told[way]["trials_an_hour"] for way in WAYS))
    differences, slower = [], []
    for found in rounds:
        scored = {trial["key"]: trial for trial in found["ours"]["trials"]}
        for trial in found["usual"]["trials"]:
            mine = scored[trial["key"]]
            differences.append(100 * (trial["accuracy"] - mine["accuracy"]))
            slower.append(trial["seconds"] / mine["seconds"])
    told |= {"ratio": round(ratio, 2), "error": round(ratio * relative, 2)}
    told |= {"ratio_cpu": round(usual_["cpu_s"] / ours_["cpu_s"], 2)}
    told |= {"each architecture takes times as long": [round(s, 2) for s in slower]}
    named = zip(("usual over ours", "error"), mean_and_error(differences), strict=True)
    told["accuracy"] = {name: round(value, 2) for name, value in named} | {"each": [round(d, 2) for d in differences]}
    return told


def with_rejected(found: Mapping[str, Any], usual_speed: Mapping[str, Any], cores: int, share: float) -> dict[str, Any]:
    """Left to its sampler. ``expected_an_hour``: where as many fit as of random ones, for it learns nothing from 0s."""
    trained = [trial for trial in found["trials"] if trial["trained"]]
    rejected, whole = len(found["trials"]) - len(trained), core_seconds(found, cores)
    around = usual_speed["around_s"] * len(trained) + sum(trial["seconds"] for trial in trained)
    told: dict[str, Any] = {"proposals": len(found["trials"]), "over the budget": rejected}
    told |= {"trained_an_hour": round(3600 * cores * len(trained) / whole, 2)}
    if not rejected:
        return told
    each = (whole - around) / rejected
    one = 3600 * cores / usual_speed["trials_an_hour"] + each * (1 - share) / share
    told |= {"seconds of one that is rejected": round(each, 1), "random ones within the budget": f"{share:.1e}"}
    return {**told, "expected_an_hour": float(f"{3600 * cores / one:.2g}")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="spconv_layerwise")
    parser.add_argument("--budget", default="2.5GFLOPs")
    parser.add_argument("--trials", type=int, default=4, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=1, help="ours, the usual way, ours, …; each under its own seed")
    parser.add_argument("--proposals", type=int, default=8, help="of the usual way's own sampler; 0 leaves it out")
    parser.add_argument("--runs", type=Path, default=Path("results"), help="where our searches leave their folders")
    parser.add_argument("--short", action="store_true", help="a few images: does it run")
    parser.add_argument("--output", type=Path)
    wanted = parser.parse_args()
    document: dict[str, Any] = {"summary": {}, "space": wanted.space, "budget": wanted.budget, "short": wanted.short}
    document |= {"device": judging.device(), "rounds": []}
    for seed in range(wanted.rounds):
        question = question_of(wanted, seed)
        mine = apart(ours, question)
        cores = min(mine["cores"], wanted.trials)
        theirs = apart(usual, question, wanted.trials, cores, [t.pop("architecture") for t in mine["trials"]])
        document["rounds"].append({"seed": seed, "ours": mine, "usual": theirs})
        document["summary"] = {**summary(document["rounds"], cores), "at once": cores}
        print(json.dumps(document["summary"]), flush=True)
        save(wanted.output, document)
    if wanted.proposals:
        found = document["left to its sampler"] = apart(usual, question, wanted.proposals, cores)
        left = with_rejected(found, document["summary"]["usual"], cores, share_within(question))
        document["summary"]["usual, left to its sampler"] = left
        save(wanted.output, document)
    print(json.dumps(document["summary"], indent=1))


def save(path: Path | None, document: Mapping[str, Any]) -> None:
    """As far as it is measured."""
    if path is not None:
        path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
