"""What every architecture of the small space would score: a surrogate of the trainings in ``table.py``'s record.

    python benchmarks/surrogate.py --output benchmarks/results/surrogate.json

As NAS-Bench-301 (Zela et al., ICLR 2022) does it: several models are fitted to real trainings, each is asked for those
that it has not seen, and the best one is the truth that ``search_quality.py`` searches, with the noise as measured. And
what a few trainings say of all others by our model, with sensitivities (``search_spaces``) in its prior or without.
"""

import argparse
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import judging
import numpy as np
from numpy.typing import NDArray
from proxy_signal import summary
from scipy.stats import kendalltau
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from table import SPACE
from threadpoolctl import threadpool_limits

from nas.cost.table import build_table
from nas.form import parse_form
from nas.model import Model
from nas.prior import Prior
from search_spaces import Space, load_space

TABLE = Path(__file__).parent / "results" / "table.json"
FOLDS = 5
FEW, REPEATS = (10, 20, 40, 80), 20
Array = NDArray[np.float64]
Rows = NDArray[np.int64]


class Table:
    """The trainings of a record: option indices ``rows`` and scores in points, of the first seed."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.trainings = [t for t in document["trainings"] if "accuracy" in t]
        self.first = [t for t in self.trainings if t["seed"] == 0]
        self.rows: Rows = np.array([row_of(t["name"]) for t in self.first])
        self.points: Array = np.array([100 * t["accuracy"] for t in self.first])
        self.space: Space = load_space(SPACE)
        self.sensitivity: list[list[float]] = document["sensitivity"]

    @classmethod
    def read(cls, path: Path = TABLE) -> "Table":
        return cls(json.loads(path.read_text()))

    @cached_property
    def noise(self) -> dict[str, float]:
        """Of the architectures that were judged under every seed."""
        seeds = {t["seed"] for t in self.trainings}
        names = [{t["name"] for t in self.trainings if t["seed"] == s} for s in seeds]
        common = set.intersection(*names)
        return summary([t for t in self.trainings if t["name"] in common])

    @cached_property
    def flops(self) -> list[Array]:
        """Of each variable's options."""
        return build_table(self.space, parse_form("cpu"), Path("results/.cache")).options(self.space, "flops")


def row_of(name: str) -> tuple[int, ...]:
    """As ``table.named`` names it."""
    return tuple(int(i) for i in name.split("-"))


def features(space: Space, rows: Rows) -> Array:
    """Of each slot: which operator, and the log₂ of α and of the groups, and the depth. ``(n, 6 · variables)``."""
    columns = []
    for i, variable in enumerate(space.variables):
        described = []
        for option in variable.options:
            choice = option.choices[0]
            numbers = {k: float(v) for k, v in choice.params if not isinstance(v, (bool, str))}
            kinds = [float(choice.operator == name) for name in ("vanilla", "spconv", "compconv")]
            logs = [float(np.log2(numbers.get(name, 1))) for name in ("alpha", "groups")]
            described.append([*kinds, *logs, numbers.get("depth", 0.0)])
        columns.append(np.array(described)[rows[:, i]])
    return np.concatenate(columns, axis=1)


Predict = Callable[[Rows], Array]
"""Option indices ``(n, variables)`` → points ``(n,)``."""


def additive(table: Table, rows: Rows, points: Array) -> Predict:
    """The model of ``nas.model``: each option of each slot gives its own."""
    return Model.fit(Prior.of(table.space, table.flops), rows, points).expected


def additive_and_process(table: Table, rows: Rows, points: Array) -> Predict:
    """The same, and a Gaussian process over all slots together of what it leaves."""
    base, space = additive(table, rows, points), table.space
    scaler = StandardScaler().fit(features(space, rows))
    rest = points - base(rows)
    kernel = ConstantKernel(0.1) * RBF(10.0, (2.0, 100.0)) + WhiteKernel(0.2)
    process = GaussianProcessRegressor(kernel).fit(scaler.transform(features(space, rows)), rest)
    return lambda asked: base(asked) + process.predict(scaler.transform(features(space, asked)))


def process(table: Table, rows: Rows, points: Array) -> Predict:
    """A Gaussian process over all slots together alone."""
    space, mean = table.space, float(points.mean())
    scaler = StandardScaler().fit(features(space, rows))
    kernel = ConstantKernel(4.0) * RBF(10.0, (2.0, 100.0)) + WhiteKernel(0.2)
    fitted = GaussianProcessRegressor(kernel).fit(scaler.transform(features(space, rows)), points - mean)
    return lambda asked: mean + fitted.predict(scaler.transform(features(space, asked)))


def trees(table: Table, rows: Rows, points: Array) -> Predict:
    """Extremely randomised trees."""
    fitted = ExtraTreesRegressor(300, min_samples_leaf=2, random_state=0).fit(features(table.space, rows), points)
    return lambda asked: fitted.predict(features(table.space, asked))


SURROGATES: dict[str, Callable[[Table, Rows, Array], Predict]] = {
    "additive": additive,
    "additive + process": additive_and_process,
    "process": process,
    "trees": trees,
}
CHOSEN = "additive"  # what a process adds is nothing, and takes minutes


def held_out(table: Table, fit: Callable[[Table, Rows, Array], Predict]) -> dict[str, float]:
    """Of architectures that a model has not seen, in turn: R², Kendall's τ, and the error in points."""
    predicted = np.empty_like(table.points)
    for known, asked in KFold(FOLDS, shuffle=True, random_state=0).split(table.rows):
        predicted[asked] = fit(table, table.rows[known], table.points[known])(table.rows[asked])
    wrong = table.points - predicted
    return {
        "r2": 1 - float((wrong**2).mean() / table.points.var()),
        "kendall_tau": float(kendalltau(table.points, predicted).statistic),
        "rmse": float((wrong**2).mean() ** 0.5),
    }


def from_few(table: Table, count: int) -> dict[str, dict[str, list[float]]]:
    """What so many trainings say of all others by the additive model, with sensitivities in its prior or without.

    Means over ``REPEATS`` draws of them, with standard errors.
    """
    priors = {
        "without": Prior.of(table.space, table.flops),
        "with sensitivities": Prior.of(table.space, table.flops, table.sensitivity),
    }
    found: dict[str, dict[str, list[float]]] = {}
    for name, prior in priors.items():
        each = []
        for seed in range(REPEATS):
            order = np.random.default_rng(seed).permutation(len(table.points))
            few, rest = order[:count], order[count:]
            said = Model.fit(prior, table.rows[few], table.points[few]).expected(table.rows[rest])
            wrong = ((said - table.points[rest]) ** 2).mean() / table.points[rest].var()
            each.append((1 - float(wrong), float(kendalltau(said, table.points[rest]).statistic)))
        columns = np.array(each).T
        errors = columns.std(axis=1, ddof=1) / REPEATS**0.5
        found[name] = {
            figure: [round(float(column.mean()), 3), round(float(error), 3)]
            for figure, column, error in zip(("r2", "kendall_tau"), columns, errors, strict=True)
        }
    return found


def surrogate(table: Table) -> Predict:
    """Fitted to all trainings."""
    with threadpool_limits(1):
        return SURROGATES[CHOSEN](table, table.rows, table.points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--surrogate", nargs="+", choices=SURROGATES, default=list(SURROGATES))
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    table = Table.read(asked.table)
    with threadpool_limits(1):
        found = {name: held_out(table, SURROGATES[name]) for name in asked.surrogate}
        few = {str(count): from_few(table, count) for count in FEW}
    noise = table.noise["std_between_seeds"]
    document = {
        "architectures": len(table.points),
        "std": float(table.points.std()),
        "noise": table.noise,
        "highest_r2_that_the_noise_allows": 1 - noise**2 / float(table.points.var()),
        "held_out": found,
        "from_few": few,
        "chosen": CHOSEN,
        "device": judging.device(),
    }
    print(json.dumps(document, indent=1))
    if asked.output:
        asked.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
