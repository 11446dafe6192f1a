"""What the report of one run says, section by section."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..budget import broken, within
from ..cost.table import Prediction
from ..metrics import METRICS, in_column
from ..record import Record
from .command import command_of
from .facts import Facts, effects_of
from .front_figures import final_figure, front_figure, in_view, published_figure, score_against_final
from .layer_figures import effects_figure, importance_figure, layers_figure, over_the_front
from .page import Part, Section
from .style import Figure, heading, short
from .trial_figures import curves_figure, failures, progress_figure, time_figure

MOST_FAILED = 200
ROOM_PX, COLUMN_PX = 200, 16  # of a table of colours


def sections_of(facts: Facts) -> list[Section]:
    """All that there is something to say of."""
    made = [_front(facts), _final(facts), _layers(facts), _learned(facts), _search(facts), _failed(facts), _how(facts)]
    return [section for section in made if section.rows or section.text]


def answer_of(facts: Facts) -> str:
    """The one sentence to decide by."""
    if facts.verdict is not None and (said := facts.verdict.sentence()):
        return said
    best = facts.best
    if best is None:
        return (
            "No candidate has been finished within every budget yet." if facts.candidates else "No trial has ended yet."
        )
    score = f"a score of {100 * (best.accuracy or 0):.1f}%"
    if (model := facts.by_model(best)) is not None:
        score += f", {100 * model[0]:.1f} ± {100 * model[1]:.1f}% by the model over all scores"
    costs = ", ".join(
        f"{in_column(name, value)} {heading(name)}" for name, value in best.costs.items() if name in METRICS
    )
    return f"{best.name} ({costs}): {score}. No final stage has ended: how much of that is luck is not known yet."


def subtitle_of(facts: Facts) -> str:
    """What was asked."""
    question = facts.run.question
    limits = f" within {within(question.budget)}" if question.budget else ""
    ended = f"{len(facts.candidates)} networks have ended, {len(facts.finished)} with a score"
    how = f"judge {question.judge}, data {question.dataset}"
    return f"A search of {question.space_name}{limits}; {ended}, {question.trials} planned; {how}."


def _figure(figure: Figure | None, title: str, text: str = "", least_px: int = 0) -> list[Part]:
    return [] if figure is None else [Part(title, text, figure, least_px=least_px)]


def _rows(*rows: Sequence[Part]) -> list[Sequence[Part]]:
    return [row for row in rows if row]


def _front(facts: Facts) -> Section:
    noise = (
        f"Bars are one standard deviation of a score between seeds, {100 * facts.noise:.2f} points. "
        if facts.noise
        else ""
    )
    known = [name for name in METRICS if any(name in r.costs for r in facts.finished)]
    if not known:
        return Section("front", "The front", "There is nothing to draw yet: no candidate has a score.")
    first = _figure(
        front_figure(facts, "flops"),
        "Accuracy over FLOPs",
        f"{noise}The front has those that no other is better than by more than noise, in accuracy, FLOPs or latency. "
        "Each is accuracy on validation images of a small proxy; costs are the target network's.",
    )
    hidden = len(facts.scored) - len(in_view(facts, "flops"))
    if hidden:
        first.append(Part(text=f"{hidden} networks lie outside of the view: the button shows everything."))
    others = [
        part
        for name in known
        if name != "flops"
        for part in _figure(front_figure(facts, name), f"Over {heading(name)}", _predicted(facts, name))
    ]
    printed = _figure(
        published_figure(facts),
        "What both papers print for this network",
        "Another task and a full training: only FLOPs compare. The line is where best.yaml is.",
    )
    rows = _rows(_distrusted(facts), first[:1], first[1:], others, [_front_table(facts)], printed)
    return Section("front", "The front", rows=rows)


def _predictions(facts: Facts) -> Mapping[str, Prediction]:
    return {} if facts.table is None else facts.table.predictions


def _predicted(facts: Facts, metric: str) -> str:
    """How far the sums over layers can be trusted, of a metric that they only predict."""
    found = _predictions(facts).get(metric)
    if found is None:
        return ""
    return (
        f"Summed over layers, {found.in_words}. The table below has what was measured of whole networks, where it was."
    )


def _doubts(facts: Facts) -> dict[str, str]:
    """Whose measurements can't be trusted, and why."""
    of_layers = {} if facts.table is None else facts.table.doubts
    said = {f"{heading(name)}, summed over layers": doubt for name, doubt in of_layers.items()}
    return {**said, **({"whole networks": facts.measured.doubt} if facts.measured.doubt else {})}


def _distrusted(facts: Facts) -> list[Part]:
    return [Part(text=f"Can't be trusted: {what} ({doubt}).") for what, doubt in _doubts(facts).items()]


def _front_table(facts: Facts) -> Part:
    beside = [r for r in facts.references if r.finished]
    costs = [name for name in METRICS if any(name in r.costs for r in facts.front)]
    best = None if facts.best is None else facts.best.key
    cells = [
        _row(facts, r, costs, r.key == best) for r in [*facts.front, *sorted(beside, key=lambda r: -r.costs["flops"])]
    ]
    headings = ["network", "score, %", "by the model, %", "test, %", *map(heading, costs), "within the budget"]
    return Part("The front, and the uniform settings beside it", headings=headings, cells=cells)


def _row(facts: Facts, record: Record, costs: Sequence[str], is_best: bool) -> list[str]:
    model, own, sure = facts.by_model(record), facts.measured.costs(record), facts.measured.sure_costs(record)
    return [
        f"{record.name} (best.yaml)" if is_best else record.name,
        f"{100 * (record.accuracy or 0):.2f}" + (f" ± {100 * facts.noise:.2f}" if facts.noise else ""),
        "" if model is None else f"{100 * model[0]:.2f} ± {100 * model[1]:.2f}",
        "" if record.test_accuracy is None else f"{100 * record.test_accuracy:.2f}",
        *("" if name not in own else in_column(name, own[name]) for name in costs),
        "no" if broken(facts.run.question.budget, sure) else "yes",
    ]


def _final(facts: Facts) -> Section:
    drawn = _figure(
        final_figure(facts),
        "",
        "Circles are candidates, stars uniform settings and vanilla. Each was trained from nothing under seeds that no "
        "trial had, so that what was lucky is not lucky again.",
    )
    agree = _figure(score_against_final(facts), "Scores against the final stage", "On the dotted line both are equal.")
    return Section("final", "The final stage", rows=_rows(drawn, agree))


def _layers(facts: Facts) -> Section:
    record = _drawn(facts)
    rows: list[Sequence[Part]] = []
    if record is not None:
        kinds = [("flops", "FLOPs"), ("latency_ms", "latency, each layer's part of what is predicted")]
        shown = [
            part
            for metric, words in kinds
            if metric in record.costs
            for part in _figure(layers_figure(facts, record, metric), f"{record.name}: {words}")
        ]
        rows = _rows(shown, [_layer_table(facts, record)] if shown else [])
    over = _figure(
        over_the_front(facts), "Over the whole front", "The share of the vanilla layer's FLOPs that is kept."
    )
    rows = [*rows, *_rows(over)]
    text = "Where the chosen network spends and where it saves: the grey bar is the vanilla layer." if rows else ""
    if not rows and facts.missing:
        text = f"Layers can't be shown: {facts.missing}"
    return Section("layers", "Layer by layer", text, rows)


def _drawn(facts: Facts) -> Record | None:
    return facts.best or next(iter(facts.front), None)


def _layer_table(facts: Facts, record: Record) -> Part:
    by_metric = {name: facts.shares(record, name) for name in METRICS if name in record.costs}
    cells = []
    for at in zip(*by_metric.values(), strict=True):
        slot, choice = at[0][:2]
        shares = [f"{cost / whole:.0%}" if whole else "" for _, _, cost, whole in at]
        cells.append([slot, short(choice), *shares])
    headings = ["layer", "choice", *(f"{heading(name)} of vanilla's" for name in by_metric)]
    return Part(headings=headings, cells=cells, closed=f"{record.name} as a table, {len(cells)} layers")


def _learned(facts: Facts) -> Section:
    effects = effects_of(facts)
    matters = _figure(
        importance_figure(facts),
        "Which layers matter",
        "How far the options of a layer lie apart in accuracy; bars are one standard deviation of that.",
    )
    drawn = _figure(
        effects_figure(effects),
        "The effect of each choice at each layer",
        "Points of accuracy against the mean of the layer's options, with their errors: one that is smaller than its "
        "error is not known.",
        least_px=ROOM_PX + COLUMN_PX * len({option for _, names, *_ in effects for option in names}),
    )
    text = (
        "A model over all scores, additive over the layers' choices: what single scores can't say." if effects else ""
    )
    return Section("learned", "What the model learned", text, _rows(matters, drawn))


def _search(facts: Facts) -> Section:
    progress = [
        *_figure(
            progress_figure(facts, False),
            "Over the trials",
            "The hypervolume is the mean, over all budgets up to this one, of what the best network within has above "
            "guessing.",
        ),
        *_figure(progress_figure(facts, True), "Over time"),
    ]
    curves = _figure(curves_figure(facts), "Learning curves", "On a part of the validation images. Dark: the front's.")
    time = _figure(
        time_figure(facts),
        "Where the time went",
        "Waiting for the processor: other work took the cores while a trial had begun.",
    )
    return Section("search", "How the search went", rows=_rows(progress, curves, time))


def _failed(facts: Facts) -> Section:
    failed = failures([record for _, record in facts.trainings])
    if not failed:
        return Section("failed", "What failed")
    count = ", ".join(f"{n} {status}" for status, n in Counter(status for _, status, _ in failed).items())
    table = Part(headings=["trial", "status", "why"], cells=failed[:MOST_FAILED])
    return Section("failed", "What was stopped or failed", f"{count}; all are in trials.csv.", [[table]])


def _how(facts: Facts) -> Section:
    run, recipe = facts.run, facts.run.question.recipe
    said: dict[str, Any] = {
        "a trial": f"judge {run.question.judge}: {recipe.epochs} epochs of {recipe.images_per_epoch:,} images, "
        f"batch {recipe.batch}, proxy of {run.question.proxy_width:g} times the width at "
        f"{run.question.proxy_resolution} pixels",
        "sampler, stopping": f"{run.question.sampler}, {run.question.stop}",
        **{METRICS[name].column[0]: METRICS[name].how for name in METRICS},
        "latency on": _latency_on(facts),
        **{f"{heading(name)}, summed over layers": found.in_words for name, found in _predictions(facts).items()},
        "whole networks": ", ".join(f"{k} {v}" for k, v in facts.measured.how.items() if v is not None),
        **{f"in doubt: {what}": doubt for what, doubt in _doubts(facts).items()},
        "run": run.id,
        **_flat(run.document.get("provenance") or {}),
        "data": ", ".join(f"{k} {v}" for k, v in (run.document.get("data") or {}).items()),
    }
    cells = [[name, str(value)] for name, value in said.items() if value]
    command = Part("The command to repeat it", code=command_of(run.question))
    return Section("how", "How it was measured", rows=[[Part(headings=["", ""], cells=cells)], [command]])


def _latency_on(facts: Facts) -> str:
    """The form and the device; of an earlier version's run the device alone."""
    return "" if facts.table is None else " on ".join(filter(None, (facts.table.latency_on, facts.table.device)))


def _flat(document: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)
        for name, value in document.items()
        if value
    }
