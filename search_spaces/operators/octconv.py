"""OctConv, from *Drop an Octave: Reducing Spatial Redundancy with Octave Convolution* (Chen et al., ICCV 2019)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Operator, Size, he_init, rescale, same, scale_shift
from .inheriting import Path, assign, fit


def low_channels(channels: int, alpha: float) -> int:
    """α·C, rounded to the nearest integer."""
    return int(alpha * channels + 0.5)


class OctConv2d(Operator):
    """Part of the channels, the last ones, have half the resolution; four convolutions join the two parts (Eq. 4).

    A drop-in has one input and one output, so the low-frequency channels travel at full size, every pixel four times.
    Average pooling 2×2 gives them back exactly, and BatchNorm, ReLU and sums between two OctConvs act on the copies as
    they would on the original: chained, they are the multi-frequency network of the paper, with its multiply-adds.
    Beside layers that are no OctConv, ``alpha_in = 0`` reads all channels in full (as the paper's first layer does) and
    ``alpha_out = 0`` writes all in full (its last). As in the paper, a stride is an average pooling before it.

    Parameters: k²·C_in·C_out, as vanilla; multiply-adds (1 − ¾·α·(2 − α)) of vanilla (Table 1).

    Args:
        alpha: α in [0, 1], the ratio of low-frequency channels.
        alpha_in, alpha_out: the same for the input or the output alone; ``None`` is ``alpha``.

    Raises:
        ValueError: an α out of range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size | None = None,
        *,
        alpha: float = 1 / 2,
        alpha_in: float | None = None,
        alpha_out: float | None = None,
        dilation: Size = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation=dilation)
        shares = [alpha if share is None else share for share in (alpha_in, alpha_out)]
        if not all(0 <= share <= 1 for share in (alpha, *shares)):
            raise ValueError(f"OctConv: alpha must be in [0, 1], got {alpha}, in {alpha_in}, out {alpha_out}")
        low_in, low_out = low_channels(in_channels, shares[0]), low_channels(out_channels, shares[1])
        self.split_in, self.split_out = [in_channels - low_in, low_in], [out_channels - low_out, low_out]
        self.paths = nn.ModuleDict()
        around = same(self.kernel_size, self.dilation)
        for source, width_in in zip("HL", self.split_in, strict=True):
            for target, width_out in zip("HL", self.split_out, strict=True):
                if width_in and width_out:
                    geometry = (self.kernel_size, 1, around, self.dilation)
                    self.paths[source + target] = he_init(nn.Conv2d(width_in, width_out, *geometry, bias=False))

    def _forward(self, x: Tensor) -> Tensor:
        high, low = self.on_output_grid(x).split(self.split_in, dim=1)
        size = (high.shape[2], high.shape[3])
        to_high = [self.paths["HH"](high)] if "HH" in self.paths else []
        to_low = [self.paths["HL"](half(high))] if "HL" in self.paths else []
        if self.split_in[1]:
            low = half(low)
            to_high += [double(self.paths["LH"](low), size)] if "LH" in self.paths else []
            to_low += [self.paths["LL"](low)] if "LL" in self.paths else []
        outputs = [sum(to_high[1:], to_high[0])] if to_high else []
        outputs += [double(sum(to_low[1:], to_low[0]), size)] if to_low else []
        return torch.cat(outputs, dim=1)

    def _inherit(self, weight: Tensor, inputs: Tensor, outputs: Tensor) -> None:
        """Each path its part of the dense kernel, then least squares for those that are summed."""
        inputs = self.on_output_grid(inputs)
        high, low = inputs.split(self.split_in, dim=1)
        reads = {"H": high, "L": half(low) if self.split_in[1] else low}
        rows = dict(zip("HL", weight.split(self.split_out), strict=True))
        wanted = dict(zip("HL", outputs.split(self.split_out, dim=1), strict=True))
        for target in "HL":
            paths = []
            for source, part in zip("HL", rows[target].split(self.split_in, dim=1), strict=True):
                if source + target in self.paths:
                    conv = self.paths[source + target]
                    assert isinstance(conv, nn.Conv2d)
                    assign(conv, part)
                    read = half(high) if source + target == "HL" else reads[source]
                    paths.append(Path(conv, read, cell=2 if source + target == "LH" else 1))
            if paths:
                fit(wanted["H"] if target == "H" else half(wanted["L"]), *paths)

    def fold(self, following: nn.BatchNorm2d | None) -> bool:
        """One of each output's convolutions takes the shift, both the scale; upsampling changes neither."""
        if following is None:
            return False
        scale, shift = (t.split(self.split_out) for t in scale_shift(following))
        for i, target in enumerate("HL"):
            convs = [self.paths[source + target] for source in "HL" if source + target in self.paths]
            for j, conv in enumerate(convs):
                assert isinstance(conv, nn.Conv2d)
                rescale(conv, scale[i], shift[i] if j == 0 else None)
        return True


def half(x: Tensor) -> Tensor:
    """Average of 2×2 cells; the last of an odd size over what is there: ``(B, C, H, W)`` → ``(B, C, ⌈H/2⌉, ⌈W/2⌉)``."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


def double(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Each pixel four times, cut to ``size``: ``(B, C, h, w)`` → ``(B, C, *size)``."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")[:, :, : size[0], : size[1]]
