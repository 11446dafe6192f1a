"""SPConv against its paper: Eq. 2–7 by plain loops, Eq. 9 by counting."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Choice, load_space
from search_spaces.operators import SPConv2d


@pytest.mark.parametrize("alpha", [1 / 8, 1 / 4, 1 / 2, 1])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("channels", [(32, 32), (64, 32), (32, 96)])
def test_parameters_are_eq_9_and_batchnorm(alpha: float, groups: int, kernel: int, channels: tuple[int, int]) -> None:
    l, m = channels  # noqa: E741
    operator = SPConv2d(l, m, kernel, alpha=alpha, groups=groups)
    eq_9 = (kernel**2 * alpha / groups + 1) * l * m
    branches = 1 if alpha == 1 else 2
    assert sum(p.numel() for p in operator.parameters()) == eq_9 + branches * 2 * m


def pooled(x: list, stride: int) -> list:
    """Average of stride × stride cells; the last ones of an odd size average what is there."""
    h, w = len(x), len(x[0])
    cell = lambda i, j: [  # noqa: E731
        x[a][b] for a in range(i, min(i + stride, h)) for b in range(j, min(j + stride, w))
    ]
    return [[sum(cell(i, j)) / len(cell(i, j)) for j in range(0, w, stride)] for i in range(0, h, stride)]


def reference(operator: SPConv2d, image: Tensor, stride: int) -> list:
    """Eq. 2–7 on one image ``(L, H, W)`` by plain loops over plain lists: ``(M, H', W')``."""
    x, r, g = image.tolist(), operator.representative, operator.groups
    small = [pooled(channel, stride) for channel in x]
    height, width = len(x[0]), len(x[0][0])
    rows, columns = len(small[0]), len(small[0][0])
    big, point = operator.gwc.weight.tolist(), operator.pwc.weight.tolist()
    m = len(big)
    u3 = [[[0.0] * columns for _ in range(rows)] for _ in range(m)]
    u1 = [[[0.0] * columns for _ in range(rows)] for _ in range(m)]
    for c in range(m):
        first = (c // (m // g)) * (r // g)  # the group's first input channel: block-diagonal, Eq. 3
        for i in range(rows):
            for j in range(columns):
                for k in range(r // g):
                    for a in range(3):
                        for b in range(3):
                            y, z = i * stride + a - 1, j * stride + b - 1
                            if 0 <= y < height and 0 <= z < width:
                                u3[c][i][j] += big[c][k][a][b] * x[first + k][y][z]
                u3[c][i][j] += sum(point[c][k][0][0] * small[k][i][j] for k in range(r))
                if operator.has_redundant:
                    cheap = operator.redundant.weight[c].flatten().tolist()
                    u1[c][i][j] = sum(w * small[r + k][i][j] for k, w in enumerate(cheap))
    u3 = normalised(u3, operator.bn_representative)
    if not operator.has_redundant:
        return u3
    u1 = normalised(u1, operator.bn_redundant)
    result = []
    for a, b in zip(u3, u1, strict=True):
        s3, s1 = (sum(map(sum, u)) / (rows * columns) for u in (a, b))  # Eq. 4
        beta = math.exp(s3) / (math.exp(s3) + math.exp(s1))  # Eq. 5
        pairs = [zip(p, q, strict=True) for p, q in zip(a, b, strict=True)]
        result.append([[beta * v + (1 - beta) * w for v, w in row] for row in pairs])  # Eq. 6
    return result


def normalised(u: list, bn: nn.BatchNorm2d) -> list:
    mean, var, weight, bias = (t.tolist() for t in (bn.running_mean, bn.running_var, bn.weight, bn.bias))
    return [
        [[(v - mean[c]) / math.sqrt(var[c] + bn.eps) * weight[c] + bias[c] for v in row] for row in channel]
        for c, channel in enumerate(u)
    ]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("alpha", "groups"), [(1 / 2, 2), (1 / 4, 1), (1, 2), (1 / 8, 1)])
@pytest.mark.parametrize("size", [(4, 4), (5, 3)])
def test_output_is_that_of_plain_loops(stride: int, alpha: float, groups: int, size: tuple[int, int]) -> None:
    operator = SPConv2d(8, 6, stride=stride, alpha=alpha, groups=groups).eval()
    for m in operator.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean)
            nn.init.uniform_(m.weight, 0.5, 1.5)
    image = torch.randn(8, *size)
    expected = torch.tensor(reference(operator, image, stride))
    torch.testing.assert_close(operator(image[None])[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(("alpha", "groups"), [(1 / 2, 2), (1 / 4, 4), (1, 2)])
@pytest.mark.parametrize("channels", [(32, 32), (64, 32), (32, 96)])
@pytest.mark.parametrize("heavy", ["gwc+pwc", "gwc-pwc", "vanilla"])
@pytest.mark.parametrize("redundant", [True, False])
def test_parameters_of_the_options_of_table_4(
    kernel: int, alpha: float, groups: int, channels: tuple[int, int], heavy: str, redundant: bool
) -> None:
    """P20 to P22 and P1; how the two parts are fused (P3) costs no parameters."""
    l, m = channels  # noqa: E741
    r = alpha * l
    by_heavy = {
        "gwc+pwc": kernel**2 * r * m / groups + r * m,
        "gwc-pwc": kernel**2 * r * m / groups + m * m,
        "vanilla": kernel**2 * r * m,
    }
    cheap = (l - r) * m + 2 * m if redundant and alpha < 1 else 0
    for fusion in ("attention", "sum"):
        operator = SPConv2d(l, m, kernel, alpha=alpha, groups=groups, heavy=heavy, redundant=redundant, fusion=fusion)
        assert sum(p.numel() for p in operator.parameters()) == by_heavy[heavy] + 2 * m + cheap


@pytest.mark.parametrize("heavy", ["gwc+pwc", "gwc-pwc", "vanilla"])
@pytest.mark.parametrize("redundant", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_output_of_the_options_of_table_4(heavy: str, redundant: bool, stride: int) -> None:
    """With the plain sum; the attention's is that of the plain loops above."""
    operator = SPConv2d(8, 6, stride=stride, groups=2, heavy=heavy, redundant=redundant, fusion="sum").eval()
    images = torch.randn(2, 8, 9, 7)
    small = F.avg_pool2d(images, stride, ceil_mode=True, count_include_pad=False)
    groups = 1 if heavy == "vanilla" else 2
    expected = F.conv2d(images[:, :4], operator.gwc.weight, stride=stride, padding=1, groups=groups)
    if heavy == "gwc+pwc":
        expected = expected + F.conv2d(small[:, :4], operator.pwc.weight)
    elif heavy == "gwc-pwc":
        expected = F.conv2d(expected, operator.pwc.weight)
    expected = operator.bn_representative(expected)
    if redundant:
        expected = expected + operator.bn_redundant(F.conv2d(small[:, 4:], operator.redundant.weight))
    torch.testing.assert_close(operator(images), expected, rtol=1e-4, atol=1e-5)


def test_the_vanilla_convolution_takes_any_groups() -> None:
    assert SPConv2d(16, 16, groups=3, heavy="vanilla").gwc.groups == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"alpha": 0}, "alpha must be in"),
        ({"alpha": 1.5}, "alpha must be in"),
        ({"alpha": 1 / 64}, "at least one channel"),
        ({"groups": 0}, "groups must be an integer"),
        ({"alpha": 1 / 2, "groups": 3}, "groups must divide"),
    ],
)
def test_what_is_impossible_says_the_rule(wrong: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SPConv2d(16, 16, **wrong)


@pytest.mark.parametrize(("alpha", "printed"), [(1 / 2, 18.34e6), (1 / 4, 16.93e6), (1 / 8, 16.22e6)])
def test_params_of_table_2(alpha: float, printed: float) -> None:
    """ResNet-50, SPConv's Table 2: to the printed digit."""
    network = load_space("spconv_layerwise").uniform(Choice.of("spconv", alpha=alpha, groups=2)).build()
    assert abs(sum(p.numel() for p in network.parameters()) - printed) <= 0.005e6
