import pytest

from nas.budget import Budget, broken, parse_budget, within
from nas.metrics import in_column, show


@pytest.mark.parametrize(
    ("text", "metric", "limit"),
    [
        ("2.5GFLOPs", "flops", 2.5e9),
        ("300MFLOPs", "flops", 3e8),
        ("300 mflops", "flops", 3e8),
        ("12MParams", "params", 12e6),
        ("470KParams", "params", 470e3),
        ("1.2ms", "latency_ms", 1.2),
        (".5ms", "latency_ms", 0.5),
    ],
)
def test_budgets_as_people_write_them(text: str, metric: str, limit: float) -> None:
    assert parse_budget(text) == Budget(metric, limit, text)


@pytest.mark.parametrize(
    "text", ["2.5GFLOP/s", "-1MFLOPs", "0FLOPs", "2.5", "GFLOPs", "2.5G", "1.2s", "3Mms", "nanGFLOPs", "1e999FLOPs", ""]
)
def test_anything_else_is_refused_with_what_was_received(text: str) -> None:
    with pytest.raises(ValueError, match="such as") as error:
        parse_budget(text)
    assert repr(text) in str(error.value)
    assert "\n" not in str(error.value)


VANILLA = {"flops": 4.089284608e9, "params": 25.557032e6, "latency_ms": 155.1234567891}


@pytest.mark.parametrize(
    ("text", "metric", "share"),
    [
        ("60%", "flops", 0.6),
        (" 60 % ", "flops", 0.6),
        ("55.5%flops", "flops", 0.555),
        ("1e2%Params", "params", 1.0),
        ("75%ms", "latency_ms", 0.75),
    ],
)
def test_a_share_is_of_what_the_vanilla_network_costs(text: str, metric: str, share: float) -> None:
    """And is not to be had before that is known."""
    asked = parse_budget(text)
    assert (asked.metric, asked.share) == (metric, pytest.approx(share))
    assert broken([asked], dict.fromkeys(VANILLA, 1e-9)) == [asked]
    known = asked.of(VANILLA)
    assert known.limit == pytest.approx(share * VANILLA[metric], rel=1e-11)
    assert known.of({}) == known == parse_budget(str(known))  # as a run's file has it
    assert str(known).startswith(text.strip() + " (")
    assert known.ends(VANILLA[metric] / 2, VANILLA[metric], VANILLA[metric]) == "50% to 100%"
    assert parse_budget("3MFLOPs").of({}).limit == 3e6


@pytest.mark.parametrize("text", ["0%", "%", "-5%", "60%G", "60% (2GParams)", "60% (60%)", "60% (", "60%ms (2MFLOPs)"])
def test_a_share_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as") as error:
        parse_budget(text)
    assert "\n" not in str(error.value)


def test_a_budget_is_an_upper_limit_that_may_be_met() -> None:
    budgets = (parse_budget("100FLOPs"), parse_budget("5Params"))
    assert broken(budgets, {"flops": 100, "params": 5}) == []
    assert broken(budgets, {"flops": 101, "params": 5}) == [budgets[0]]


def test_show() -> None:
    assert show("flops", 2.5e9) == "2.5 GFLOPs"
    assert show("params", 78_690) == "78.69 KParams"
    assert show("latency_ms", 1.2345) == "1.234 ms"
    assert show("flops", 2.460118e9, 6) == "2.46012 GFLOPs"
    assert (in_column("flops", 2.5e9), in_column("latency_ms", 54.801)) == ("2.500", "54.80")


def test_within() -> None:
    assert within([]) == "no budget"
    assert within([parse_budget("2GFLOPs"), parse_budget("12MParams")]) == "2GFLOPs and 12MParams"
