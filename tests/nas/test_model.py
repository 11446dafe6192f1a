"""The additive model: it finds an additive truth, knows how sure it is, and stands on whatever little it gets."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import nas.model
from nas.feasible import Feasible
from nas.finalists import APART, LEAST_ROWS, diverse_best
from nas.knapsack import Limit
from nas.model import Model, one_hot
from nas.prior import Prior
from search_spaces import Option, Space, Variable, load_space


@cache
def space(name: str = "spconv_layerwise") -> Space:
    return load_space(name)


@cache
def prior(name: str = "spconv_layerwise") -> Prior:
    return Prior.of(space(name))


def sizes(name: str = "spconv_layerwise") -> list[int]:
    return [len(v.options) for v in space(name).variables]


def drawn(count: int, seed: int, name: str = "spconv_layerwise") -> np.ndarray:
    return np.random.default_rng(seed).integers(0, sizes(name), (count, len(sizes(name))))


def made_up(seed: int, jitter: float = 0.05) -> list[np.ndarray]:
    """Points of accuracy: a variable's share × what α and the groups give, and something of each option's own."""
    rng = np.random.default_rng(seed)
    shares = 8 * rng.dirichlet(np.ones(len(sizes())))
    return [
        s * np.array([worth(o) + rng.normal(0, jitter) for o in v.options])
        for s, v in zip(shares, space().variables, strict=True)
    ]


def worth(option: Option) -> float:
    numbers = dict(option.choices[0].params)
    return 0.75 * numbers["alpha"] ** 0.35 * numbers["groups"] ** -0.12 if numbers else 1.0


def truth(effects: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
    return 60 + np.sum([e[rows[:, i]] for i, e in enumerate(effects)], axis=0)


def judged(count: int, seed: int, share: float = 0.5, jitter: float = 0.05) -> tuple[Model, list[np.ndarray], float]:
    """A model of random architectures, scored with noise of a ``share`` of the signal; the truth, and the noise."""
    effects, rows = made_up(seed, jitter), drawn(count, seed)
    noise = share * float(truth(effects, drawn(1000, 99)).std())
    scores = truth(effects, rows) + np.random.default_rng(seed + 1).normal(0, noise, count)
    return Model.fit(prior(), rows, scores, noise), effects, noise


def costs(name: str = "spconv_layerwise") -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(10, 1000, n).astype(float) for n in sizes(name)]


@cache
def feasible(share: float = 0.4) -> Feasible:
    limit = Limit(costs(), 0)
    return Feasible(sizes(), [Limit(limit.costs, limit.least + share * (limit.most - limit.least))])


@pytest.mark.parametrize(("jitter", "least"), [(0.0, 0.9), (0.05, 0.86)])
def test_it_finds_an_additive_truth_and_knows_how_sure_it_is(jitter: float, least: float) -> None:
    """Architectures that it has not seen, over several truths; two deviations hold about 95%.

    200 scores with noise of half the signal; what is of each of 450 options' own can't be found in so few.
    """
    test, agreement, within = drawn(400, 7), [], []
    for seed in range(3):
        model, effects, _ = judged(200, seed, jitter=jitter)
        mean, deviation = model.predict(test)
        agreement.append(np.corrcoef(mean, truth(effects, test))[0, 1])
        within.append(float((np.abs(mean - truth(effects, test)) < 2 * deviation).mean()))
    assert np.mean(agreement) > least
    assert 0.85 <= np.mean(within) <= 1


@pytest.mark.parametrize("tells", [True, False])
def test_what_each_choice_does_alone_makes_up_for_scores(tells: bool) -> None:
    """Ten scores. Sensitivities that have to do with the truth say most of the rest; others do little harm."""
    agreement = {}
    for known in (False, True):
        found = []
        for seed in range(4):
            effects, rows = made_up(seed), drawn(10, seed)
            said = made_up(seed if tells else seed + 50)
            moved = [np.square(said_of.max() - said_of) for said_of in said] if known else None
            scores = truth(effects, rows) + np.random.default_rng(seed).normal(0, 0.3, len(rows))
            model, test = Model.fit(Prior.of(space(), costs(), moved), rows, scores), drawn(300, 7)
            found.append(np.corrcoef(model.predict(test)[0], truth(effects, test))[0, 1])
        agreement[known] = np.mean(found)
    assert agreement[True] > agreement[False] + (0.15 if tells else -0.15)


def test_the_noise_is_estimated_where_it_was_not_measured() -> None:
    known, _, noise = judged(400, 3)
    model = Model.fit(prior(), known.rows, known.scores)
    assert known.noise == pytest.approx(noise)
    assert model.noise == pytest.approx(noise, rel=0.25)


def test_the_scores_of_the_judged_gain_from_the_others() -> None:
    model, effects, _ = judged(100, 1, share=1.0)
    true, mean = truth(effects, model.rows), model.predict(model.rows)[0]
    assert np.mean((mean - true) ** 2) < 0.6 * np.mean((model.scores - true) ** 2)


def refitted(model: Model, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of effects and level by the textbook, in the unit of the scores, variances as fitted."""
    total = np.zeros((sum(model.prior.sizes) + 1,) * 2)
    for deviation, covariance in zip(model.spread.groups, model.prior.covariances, strict=True):
        total[:-1, :-1] += deviation**2 * covariance
    total[-1, -1] = model.spread.level**2
    total += 1e-10 * np.trace(total) * np.eye(len(total))
    features, level = one_hot(model.prior.sizes, model.rows[kept]).toarray(), model.scores.mean()
    covariance = np.linalg.inv(np.linalg.inv(total) + features.T @ features / model.noise**2)
    mean = covariance @ features.T @ (model.scores[kept] - level) / model.noise**2
    mean[-1] += level
    return mean, covariance


def test_the_posterior_is_the_textbooks() -> None:
    model, _, _ = judged(60, 5)
    mean, covariance = refitted(model, np.arange(60))
    np.testing.assert_allclose(model.predict(model.rows)[0], one_hot(model.prior.sizes, model.rows) @ mean, atol=1e-4)
    np.testing.assert_allclose(model.covariance, covariance, atol=1e-4 * np.abs(covariance).max())


def test_leaving_one_out_is_fitting_without_it() -> None:
    """With an architecture that was scored three times: it is left out as a whole."""
    once, _, noise = judged(40, 2)
    rows, scores = np.concatenate([once.rows, once.rows[:1], once.rows[:1]]), np.append(once.scores, [61.0, 62.0])
    model = Model.fit(prior(), rows, scores, noise)
    found = model.leave_one_out()
    for i in (0, 1, 17, 41):
        kept = np.flatnonzero((rows != rows[i]).any(axis=1))
        mean, _ = refitted(model, kept)
        assert found[i] == pytest.approx(float((one_hot(model.prior.sizes, rows[i]) @ mean)[0]), abs=1e-3)


def test_many_records_are_fitted_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """More scores than options are compressed without loss: the likelihood, its gradient, and the posterior."""
    rows, name = drawn(100, 0, "compconv_c0"), "compconv_c0"
    scores = rows.sum(axis=1) + np.random.default_rng(0).normal(0, 1, 100)
    compressed = Model.fit(prior(name), rows, scores)
    assert sum(sizes(name)) < 100
    monkeypatch.setattr(nas.model, "_compressed", lambda n, r, s, g=None: nas.model._Data(one_hot(n, r), s, 0, 0.0))
    whole = Model.fit(prior(name), rows, scores)
    assert compressed.noise == pytest.approx(whole.noise, rel=1e-3)
    np.testing.assert_allclose(compressed.predict(rows[:9])[0], whole.predict(rows[:9])[0], rtol=1e-3)
    np.testing.assert_allclose(compressed.predict(rows[:9])[1], whole.predict(rows[:9])[1], rtol=1e-2)


def test_what_was_counted_before_gives_the_same_model() -> None:
    """Row by row, as a sampler counts, and all at once: whole numbers, so to the last digit."""
    rows, name = drawn(100, 0, "compconv_c0"), "compconv_c0"
    scores = rows.sum(axis=1) + np.random.default_rng(0).normal(0, 1, 100)
    gram = nas.model.gram_of(tuple(sizes(name)), rows[:1])
    for row in rows[1:]:
        chosen = one_hot(tuple(sizes(name)), row[None]).indices
        gram[np.ix_(chosen, chosen)] += 1
    counted, fresh = Model.fit(prior(name), rows, scores, gram=gram), Model.fit(prior(name), rows, scores)
    assert np.array_equal(counted.predict(rows)[0], fresh.predict(rows)[0])


def test_how_much_varies_is_fitted_to_enough_scores_whatever_their_order() -> None:
    rows = drawn(1000, 0)
    scores = truth(made_up(0), rows) + np.random.default_rng(0).normal(0, 1, 1000)
    again = np.random.default_rng(1).permutation(1000)
    first, second = Model.fit(prior(), rows, scores), Model.fit(prior(), rows[again], scores[again])
    assert first.spread.groups == pytest.approx(second.spread.groups, rel=0.02)
    few, more = (set(map(tuple, rows[:n][nas.model.thinned(rows[:n], 100)].tolist())) for n in (900, 1000))
    assert len(few) == len(more) == 100
    assert 80 <= len(few & more) < 100


@pytest.mark.parametrize("known", [0.25, None])
def test_the_gradient_is_the_losss(known: float | None) -> None:
    name = "compconv_c0"
    rows = drawn(60, 0, name)
    scores = np.random.default_rng(0).normal(size=60)
    data = nas.model._compressed(tuple(sizes(name)), rows, scores)
    loss = nas.model._loss(data, Prior.of(space(name), costs(name)), known)
    at = np.linspace(-2, 0.5, 5 + (known is None))
    for i, direction in enumerate(1e-5 * np.eye(len(at))):
        numeric = (loss(at + direction)[0] - loss(at - direction)[0]) / 2e-5
        assert loss(at)[1][i] == pytest.approx(numeric, rel=1e-4, abs=1e-4)


def test_the_same_architecture_again_makes_it_surer() -> None:
    rows = np.repeat(drawn(1, 0), 8, axis=0)
    scores = 60 + np.random.default_rng(0).normal(0, 1, 8)
    deviations = [Model.fit(prior(), rows[:n], scores[:n], 1.0).predict(rows[:1])[1][0] for n in (1, 2, 4, 8)]
    assert deviations == sorted(deviations, reverse=True)
    assert deviations[-1] < 0.5
    mean = Model.fit(prior(), rows, scores, 1.0).predict(rows[:1])[0][0]
    assert mean == pytest.approx(scores.mean(), abs=0.3)


def test_of_options_never_seen_it_is_unsure() -> None:
    rows = drawn(200, 0) % 10
    model = Model.fit(prior(), rows, truth(made_up(0), rows), 0.1)
    known, unseen = model.predict(drawn(50, 1) % 10)[1], model.predict(drawn(50, 1) % 10 + 10)[1]
    assert unseen.min() > 1.5 * known.max()


@pytest.mark.parametrize("noise", [None, 0.0, 0.5])
@pytest.mark.parametrize("scores", [[], [60.0], [0.0], [60.0, 61.0], [60.0] * 5, [0.0] * 5, [60.0, 60.0, 62.0]])
def test_however_little_there_is_it_is_fitted(scores: list[float], noise: float | None) -> None:
    rows = np.repeat(drawn(2, 0), 3, axis=0)[: len(scores)]  # the first three are one architecture
    model = Model.fit(prior(), rows, np.array(scores), noise)
    mean, deviation = model.predict(drawn(20, 1))
    assert np.isfinite(mean).all()
    assert (deviation > 0).all()
    assert not scores or np.abs(mean - np.mean(scores)).max() < 3
    assert np.isfinite(model.leave_one_out()).all()
    assert len(model.leave_one_out()) == len(scores)
    assert [len(e) for e in model.sample(np.random.default_rng(0))] == [len(e) for e in model.effects()] == sizes()


def test_a_variable_may_have_a_single_option() -> None:
    few = replace(space(), variables=tuple(Variable(v.name, v.slots, v.options[:1]) for v in space().variables))
    model = Model.fit(Prior.of(few), np.zeros((4, 16), dtype=int), np.array([1.0, 2.0, 3.0, 2.0]))
    assert model.predict(np.zeros((1, 16), dtype=int))[0][0] == pytest.approx(2, abs=0.2)


def test_scores_that_do_not_belong_to_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3 rows and 2 scores"):
        Model.fit(prior(), drawn(3, 0), np.zeros(2))


@pytest.mark.parametrize("name", ["mixed_resnet20", "mixed_resnet18", "compconv_c0"])
def test_every_kind_of_space_is_fitted(name: str) -> None:
    """Operators with words, switches and numbers of all sorts, stages for variables; with and without costs."""
    rows = drawn(30, 0, name)
    scores = rows.sum(axis=1) / 10
    for given in (None, costs(name)):
        mean, deviation = Model.fit(Prior.of(space(name), given), rows, scores, 0.1).predict(rows)
        assert np.corrcoef(mean, scores)[0, 1] > 0.8
        assert np.isfinite(deviation).all()


def test_draws_scatter_as_the_posterior_does() -> None:
    model, _, _ = judged(50, 0)
    rng, row = np.random.default_rng(0), drawn(1, 5)
    found = [sum(e[o] for e, o in zip(model.sample(rng), row[0], strict=True)) for _ in range(300)]
    level = np.sqrt(model.covariance[-1, -1])
    effects_only = one_hot(model.prior.sizes, row).toarray()[0, :-1]
    expected = np.sqrt(effects_only @ model.covariance[:-1, :-1] @ effects_only)
    assert level > 0
    assert np.mean(found) == pytest.approx(float(effects_only @ model.mean[:-1]), abs=4 * expected / 300**0.5)
    assert np.std(found) == pytest.approx(expected, rel=0.15)


def test_the_same_scores_give_the_same_model_and_finalists() -> None:
    a, b = judged(60, 4)[0], judged(60, 4)[0]
    assert (a.mean == b.mean).all()
    first, second = (diverse_best(m, feasible(), 5, np.random.default_rng(3)) for m in (a, b))
    assert first == second


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_finalists_are_good_distinct_and_within_the_budget(count: int) -> None:
    rng, effects = np.random.default_rng(0), made_up(6)
    rows = np.array([feasible().draw(feasible().uniform, rng) for _ in range(60)])
    model = Model.fit(prior(), rows, truth(effects, rows) + rng.normal(0, 0.3, 60), 0.3)
    found = diverse_best(model, feasible(), count, np.random.default_rng(0))
    rows, means = np.array(found), model.predict(np.array(found))[0]
    assert len(set(found)) == len(found) == count
    assert feasible().keeps(rows).all()
    within = model.rows[feasible().keeps(model.rows)]
    assert means[0] == pytest.approx(model.predict(within)[0].max())
    assert found[0] in set(map(tuple, within.tolist()))
    if count > 1:
        assert found[1] == feasible().best(model.effects())
        assert means[1] >= means.max() - 1e-9
        assert truth(effects, rows).max() > np.quantile(truth(effects, within), 0.9)
    for i in range(2, count):
        assert (rows[i] != rows[:i]).sum(axis=1).min() >= APART * 16


def test_with_little_data_only_what_was_judged_is_a_finalist() -> None:
    rows = np.array([feasible().draw(feasible().uniform, np.random.default_rng(i)) for i in range(LEAST_ROWS - 1)])
    dear = np.array([[int(c.argmax()) for c in costs()]])
    model = Model.fit(prior(), np.concatenate([rows, rows, dear]), np.append(np.tile(np.arange(7.0), 2), 99.0), 0.5)
    found = diverse_best(model, feasible(), 20, np.random.default_rng(0))
    assert sorted(found) == sorted(map(tuple, rows.tolist()))
    nothing = Model.fit(prior(), rows[:0], np.zeros(0))
    assert diverse_best(nothing, feasible(), 3, np.random.default_rng(0)) == []


def test_in_a_space_of_few_the_finalists_are_all_of_it() -> None:
    small = space("compconv_c0")
    options = sizes("compconv_c0")
    rows = np.array(list(np.ndindex(*options)) * LEAST_ROWS)[: 4 * LEAST_ROWS]
    model = Model.fit(Prior.of(small), rows, np.arange(len(rows), dtype=float))
    found = diverse_best(model, Feasible(options, []), 1000, np.random.default_rng(0))
    assert len(set(found)) == len(found)
    assert set(found) >= set(map(tuple, rows.tolist()))
