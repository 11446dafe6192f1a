"""How good is what each sampler finds, and after how many trials? On truths that are known, in minutes, no training.

    python benchmarks/search_quality.py --output benchmarks/results/search_quality.json

Spaces, costs, budgets and samplers are the real ones; accuracies are those of a surrogate of real trainings, or made up
(``truths.py``), and scored with noise. Of each sampler and seed: the hypervolume of what was tried, by its true
accuracy and its FLOPs, and the true accuracy of the network that would be named, as a share of the way from what random
draws within the budget have on average to the best; and how many trials it takes to what random draws have at last.
``--continue FILE`` takes over what an interrupted record has; ``--draw FILE`` draws it.
"""

import argparse
import json
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import judging
import numpy as np
import players
import truths
from matplotlib.figure import Figure

CHECKPOINTS = (10, 20, 30, 50, 70, 100, 150, 200, 300, 500)
LABELLED = (10, 20, 50, 100, 200, 500)


@dataclass(frozen=True)
class Game:
    """One sampler on one truth of a space, within a budget, judged with noise (points), so many trials at once."""

    space: str
    budget: str
    noise: float
    player: str
    seed: int
    trials: int
    at_once: int = 1


def play(game: Game) -> dict[str, Any]:
    """Its figures at each checkpoint."""
    truth = truths.of(game.space, game.budget, game.seed)
    player = players.PLAYERS[game.player](truth, game.seed, game.trials)
    rng = np.random.default_rng([game.seed, 1])
    rows: list[tuple[int, ...]] = []
    scores: list[float] = []
    figures: dict[int, list[float]] = {}
    pending: deque[tuple[int, ...]] = deque()
    driver_s = 0.0
    for n in range(1, game.trials + 1):
        start = time.process_time()
        while len(pending) < min(game.at_once, game.trials + 1 - n):
            pending.append(player.ask())
        driver_s += time.process_time() - start
        row = pending.popleft()
        score = truth.accuracy(np.array([row]))[0] + game.noise * rng.standard_normal()
        player.tell(row, score)
        rows.append(row)
        scores.append(score)
        if n in CHECKPOINTS:
            tried = np.array(rows)
            named = player.named(tried, np.array(scores))
            accuracy = truth.accuracy(tried[[named]])[0] if named is not None else truth.random
            figures[n] = [truth.hypervolume(tried), truth.share_of_way(accuracy), accuracy]
    return {**asdict(game), "figures": figures, "ask_ms": 1e3 * driver_s / game.trials, "best": truth.best}


def summary(games: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard error over seeds, by truth, budget, noise, sampler and trials."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for game in games:
        found.setdefault(tuple(game[f] for f in ("space", "budget", "noise", "player", "at_once")), []).append(game)
    lines = []
    for (space, budget, noise, player, at_once), own in sorted(found.items()):
        counts = [str(n) for n in CHECKPOINTS if all(str(n) in _keys(g) for g in own)]
        line: dict[str, Any] = {"space": space, "budget": budget, "noise": noise, "player": player, "at_once": at_once}
        line["seeds"] = len(own)
        for i, what in enumerate(("hypervolume", "way")):
            line[what] = {n: _mean([_at(g, n)[i] for g in own]) for n in counts}
        line["ask_ms"] = round(statistics.fmean(g["ask_ms"] for g in own), 1)
        lines.append(line)
    return [line | {"needed": needed(line, lines)} for line in lines]


def needed(line: dict[str, Any], lines: Sequence[dict[str, Any]]) -> dict[str, int | None]:
    """Trials after which it has what random draws have after their last; ``None`` where it never has."""
    random = next((r for r in lines if r["player"] == "random" and _column(r) == _column(line)), None)
    found: dict[str, int | None] = {}
    if random is None:
        return found
    for what in ("hypervolume", "way"):
        target = list(random[what].values())[-1][0]
        found[what] = next((int(n) for n, (mean, _) in line[what].items() if mean >= target), None)
    return found


def _keys(game: dict[str, Any]) -> list[str]:
    return [str(n) for n in game["figures"]]


def _at(game: dict[str, Any], n: str) -> list[float]:
    return next(v for k, v in game["figures"].items() if str(k) == n)


def _mean(values: Sequence[float]) -> list[float]:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return [round(statistics.fmean(values), 3), round(error, 3)]


def run(games: Sequence[Game], processes: int) -> Iterator[dict[str, Any]]:
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(play, game) for game in games]):
            yield future.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", nargs="+", choices=truths.BUDGETS, default=list(truths.BUDGETS))
    parser.add_argument("--budget", nargs="+", help="default: a tight, a middling and a loose one for each space")
    parser.add_argument("--noise", nargs="+", type=float, default=[0.4])
    parser.add_argument("--player", nargs="+", choices=players.PLAYERS, default=list(players.PLAYERS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=1, help="trials that run at once")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--continue", dest="earlier", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--draw", type=Path)
    asked = parser.parse_args()
    played = json.loads(asked.earlier.read_text())["games"] if asked.earlier else []
    known = {tuple(g[f] for f in Game.__dataclass_fields__) for g in played}
    most = {player: min(asked.trials, players.MOST.get(player, asked.trials)) for player in asked.player}
    games = [
        Game(space, budget, noise, player, seed, most[player], asked.at_once)
        for seed in range(asked.seeds)
        for space in asked.space
        for budget in asked.budget or truths.BUDGETS[space]
        for noise in asked.noise
        for player in asked.player
    ]
    for figures in run([g for g in games if tuple(asdict(g).values()) not in known], asked.processes):
        played.append(figures)
        if asked.output:
            save(asked.output, played)
    lines = summary(played)
    for line in lines:
        ways = [f"{n}: {w[0]:.2f} ± {w[1]:.2f}, hv {line['hypervolume'][n][0]:.2f}" for n, w in line["way"].items()]
        names = f"{line['space']:16} {line['budget']:10} {line['noise']:.1f} {line['at_once']} {line['player']:12}"
        print(names, " | ".join(ways), f"needed {line['needed']}", f"{line['ask_ms']} ms")
    if asked.draw:
        draw(asked.draw, lines)


def save(path: Path, games: Sequence[dict[str, Any]]) -> None:
    """One game a line, in order."""
    ordered = sorted(games, key=lambda g: [str(g[f]).zfill(9) for f in Game.__dataclass_fields__])
    head = json.dumps({"summary": summary(games), "device": judging.device()}, indent=1)
    lines = ",\n".join("  " + json.dumps(g) for g in ordered)
    path.write_text(head[:-2] + ',\n "games": [\n' + lines + "\n ]\n}\n")


def draw(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """The true accuracy and the hypervolume over the trials, a column for each budget; bands are standard errors."""
    columns = list(dict.fromkeys(_column(line) for line in lines))
    figure = Figure((3.4 * len(columns), 6.2), layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False)
    names = list(dict.fromkeys(line["player"] for line in lines))
    for j, column in enumerate(columns):
        at_once = f", {column[3]} at once" if column[3] > 1 else ""
        axes[0, j].set_title(f"{column[0]}\n{column[1]}, noise {column[2]:g} points{at_once}", fontsize=9)
        for line in lines:
            if _column(line) != column:
                continue
            ours = line["player"].startswith("additive")
            for i, what in enumerate(("way", "hypervolume")):
                trials = [int(n) for n in line[what]]
                mean, error = np.array(list(line[what].values())).T
                style = {"color": f"C{names.index(line['player'])}", "zorder": 3 if ours else 2}
                axes[i, j].plot(trials, mean, label=line["player"], linewidth=2.5 if ours else 1.2, **style)
                axes[i, j].fill_between(trials, mean - error, mean + error, alpha=0.2, linewidth=0, **style)
        for i in range(2):
            axes[i, j].set_xscale("log")
            seen = [n for n in LABELLED if any(str(n) in line["way"] for line in lines)]
            axes[i, j].set_xticks(seen, [str(n) for n in seen])
            axes[i, j].minorticks_off()
            axes[i, j].grid(alpha=0.3)
        axes[1, j].set_xlabel("trials")
    axes[0, 0].set_ylabel("true accuracy of the named network\n(0: random draws, 1: the best additive)")
    axes[1, 0].set_ylabel("hypervolume of what was tried")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
    figure.savefig(path, dpi=110)


def _column(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["space"], line["budget"], line["noise"], line["at_once"]


if __name__ == "__main__":
    main()
