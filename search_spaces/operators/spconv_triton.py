# mypy: disable-error-code="no-untyped-def, untyped-decorator"
"""SPConv in Triton kernels, for NVIDIA GPUs: fused as a whole, or only what is behind its two convolutions.

The logit of the gate is known before the convolutions, from sums over the input (``_sums``, ``_logits``), or, where a
program holds the whole output map of an image, from that. Every tensor is channels_last, so that a pixel's channels lie
side by side, and a k×k convolution is a sum over its taps of products of matrices: pixels × channels by channels ×
outputs. Sums are in single precision.
"""

import math
from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from triton.runtime.errors import OutOfResources

from .base import pooled
from .spconv_deployed import (
    LIMIT,
    FoldedSPConv,
    attention_gain,
    dense_kernel,
    heavy_bias,
    heavy_conv,
    heavy_kernel,
    light_bias,
)

ALONE, SUM, BEFORE, WITHIN = range(4)  # how the branches are fused: there is but one; sum; gate from the input, or here


@dataclass(frozen=True)
class Tiles:
    """How ``fused`` cuts its work: a program makes ``pixels`` × ``outputs``, so many channels at a time.

    All pixels are of one image. With ``within`` they are all pixels of as many images as they hold, and the program
    finds the gate itself.
    """

    pixels: int
    outputs: int
    heavy: int
    light: int
    warps: int = 4
    stages: int = 3
    within: bool = False


def triton_forms(operator: FoldedSPConv, size: tuple[int, int]) -> dict[str, nn.Module]:
    """``fused``, and where there is a gate, ``epilogue``."""
    forms: dict[str, nn.Module] = {"fused": FusedSPConv(operator, size)}
    if operator.has_redundant and operator.fusion == "attention":
        forms["epilogue"] = EpilogueSPConv(operator, size)
    return forms


def usual_tiles(channels: tuple[int, int], outputs: int, pixels: int) -> Tiles:
    """For so many (heavy, light) input channels, outputs, and pixels of an output map."""
    heavy, light = (min(64, max(16, triton.next_power_of_2(c))) for c in channels)
    wide = min(128, max(16, triton.next_power_of_2(outputs)))
    if pixels <= 64:
        return Tiles(128, wide, heavy, light, warps=8, stages=3, within=True)
    if pixels <= 256:
        return Tiles(256, min(wide, 64), heavy, light, warps=8, stages=3, within=True)
    return Tiles(128, wide, heavy, light, warps=8 if wide > 64 else 4, stages=3)


def smaller(tiles: Tiles) -> Tiles:
    """With less shared memory.

    Raises:
        RuntimeError: it is the least.
    """
    if tiles.stages > 2:
        return replace(tiles, stages=tiles.stages - 1)
    if max(tiles.heavy, tiles.light) > 16:
        return replace(tiles, heavy=max(16, tiles.heavy // 2), light=max(16, tiles.light // 2))
    if tiles.outputs > 16:
        return replace(tiles, outputs=tiles.outputs // 2)
    raise RuntimeError(f"SPConv: this GPU has no room for {tiles}")


class FusedSPConv(nn.Module):
    """The whole layer in one kernel, two small ones before it: ``(B, C_in, H, W)`` → ``(B, C_out, H', W')``.

    Args:
        operator: folded, with a dense kernel at this size.
        size: (H, W) of the input; no other one is right.
        tiles: how the work is cut; ``None`` for what is usual.
        relu: whether a ReLU follows.
    """

    def __init__(
        self, operator: FoldedSPConv, size: tuple[int, int], tiles: Tiles | None = None, relu: bool = False
    ) -> None:
        super().__init__()
        heavy = dense_kernel(operator, size)
        if heavy is None:
            raise ValueError(f"SPConv: the heavy part is no single convolution at {size[0]}×{size[1]}")
        self.geometry, self.relu = _geometry(operator, size), relu
        self.has_light = operator.has_redundant
        self.channels = (operator.in_channels, operator.representative)
        self.outputs, self.out_size = operator.out_channels, _out_size(operator, size)
        pixels = math.prod(self.out_size)
        light_channels = operator.in_channels - operator.representative
        tiles = tiles or usual_tiles((operator.representative, light_channels), self.outputs, pixels)
        self.tiles = tiles
        self.fusion = _fusion(operator, tiles, pixels)
        self.register_buffer("heavy", heavy.permute(2, 3, 1, 0).flatten(0, 2).contiguous())
        light = operator.redundant.weight.detach().flatten(1).t().contiguous() if self.has_light else heavy[:0]
        self.register_buffer("light", light)
        self.register_buffer("heavy_bias", heavy_bias(operator).float())
        shift = light_bias(operator)
        self.register_buffer("light_bias", torch.zeros_like(self.heavy_bias) if shift is None else shift.float())
        self.register_buffer("gain", attention_gain(operator).float())
        self.heavy: Tensor
        self.light: Tensor
        self.heavy_bias: Tensor
        self.light_bias: Tensor
        self.gain: Tensor
        self.gate = InputGate(operator, size) if self.fusion == BEFORE else None

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        logit = self.gain if self.gate is None else self.gate(x)
        out = x.new_empty((len(x), self.outputs, *self.out_size)).contiguous(memory_format=torch.channels_last)
        while True:
            try:
                self._launch(x, logit, out)
                return out
            except OutOfResources:  # more than this GPU has
                self.tiles = smaller(self.tiles)

    def _launch(self, x: Tensor, logit: Tensor, out: Tensor) -> None:
        tiles, pixels = self.tiles, math.prod(self.out_size)
        columns = triton.cdiv(self.outputs, tiles.outputs)
        if self.fusion == WITHIN:
            rows = triton.cdiv(len(x), tiles.pixels // pixels)
        else:
            rows = len(x) * triton.cdiv(pixels, tiles.pixels)
        _spconv[(rows * columns,)](
            x,
            self.heavy,
            self.light,
            self.heavy_bias,
            self.light_bias,
            logit,
            out,
            len(x),
            *self.geometry,
            *self.out_size,
            *self.channels,
            self.outputs,
            tiles.pixels,
            tiles.outputs,
            tiles.heavy,
            tiles.light,
            self.fusion,
            self.relu,
            LIMIT,
            num_warps=tiles.warps,
            num_stages=tiles.stages,
        )


class EpilogueSPConv(nn.Module):
    """Both convolutions by cuDNN and cuBLAS, the gate from the input, and one pass to fuse: as ``FusedSPConv``."""

    def __init__(self, operator: FoldedSPConv, size: tuple[int, int], relu: bool = False) -> None:
        super().__init__()
        dense = dense_kernel(operator, size)
        self.gate, self.relu = InputGate(operator, size), relu
        self.margins, self.stride = operator.margins, operator.stride
        self.heavy = heavy_conv(operator, dense)
        self.heavy.bias = None  # both are added with the gate
        self.register_buffer("light", operator.redundant.weight.detach().flatten(1).t().contiguous())
        self.register_buffer("heavy_bias", heavy_bias(operator).float())
        shift = light_bias(operator)
        self.register_buffer("light_bias", torch.zeros_like(self.heavy_bias) if shift is None else shift.float())
        self.light: Tensor
        self.heavy_bias: Tensor
        self.light_bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        logit = self.gate(x)
        front = self.heavy.in_channels
        out = self.heavy(x[:, :front]).contiguous(memory_format=torch.channels_last)
        light = pooled(x[:, front:], self.margins, self.stride).permute(0, 2, 3, 1).flatten(0, 2) @ self.light
        width, pixels = out.shape[1], math.prod(out.shape[2:])
        block, tile = 32, min(128, triton.next_power_of_2(width))
        grid = (triton.cdiv(len(x) * pixels, block), triton.cdiv(width, tile))
        _fuse[grid](
            out, light, logit, self.heavy_bias, self.light_bias, len(x) * pixels, pixels, width, block, tile, self.relu
        )
        return out


class InputGate(nn.Module):
    """The logit of β, from the input alone: ``(B, C_in, H, W)``, channels_last → ``(B, C_out)`` in single precision.

    The mean of a convolution's output is linear in the sums that each tap sees of the input: all of it but the borders.

    Attributes:
        pixels: how often each pixel counts: a row for each tap of the kernel, one for the pooled grid, zeros.
        matrix: sums over taps and representative channels, then pooled means of all channels, → logits.
    """

    def __init__(self, operator: FoldedSPConv, size: tuple[int, int]) -> None:
        super().__init__()
        taps, grid = pixel_counts(operator, size)
        self.taps, self.representative = len(taps), operator.representative
        rows = max(16, triton.next_power_of_2(self.taps + 1))
        pixels = torch.zeros(rows, size[0] * size[1])
        pixels[: self.taps], pixels[self.taps] = taps, grid
        weight = operator.gwc.weight
        self.register_buffer("pixels", pixels.to(weight))
        gain = attention_gain(operator).float()
        matrix = torch.cat([*_of_taps(operator), _of_grid(operator)]).float()
        matrix = matrix.mul(gain / math.prod(_out_size(operator, size)))
        self.register_buffer("matrix", matrix.contiguous())
        shift = light_bias(operator)
        offset = heavy_bias(operator).float() - (0 if shift is None else shift.float())
        self.register_buffer("offset", offset * gain)
        self.pixels: Tensor
        self.matrix: Tensor
        self.offset: Tensor

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        pixels, outputs = height * width, self.matrix.shape[1]
        rows, block, wide = len(self.pixels), 64, min(64, max(16, triton.next_power_of_2(channels)))
        steps = triton.cdiv(pixels, block)
        parts = min(steps, max(1, 512 // (batch * triton.cdiv(channels, wide))), 16)
        sums = x.new_empty((batch, parts, rows, channels), dtype=torch.float32)
        _sums[(batch * parts, triton.cdiv(channels, wide))](
            x, self.pixels, sums, pixels, channels, parts, triton.cdiv(steps, parts), rows, block, wide
        )
        logits = x.new_empty((batch, outputs), dtype=torch.float32)
        sizes = (batch, parts, channels, self.representative, outputs, self.taps, rows)
        _logits[(triton.cdiv(batch, 16), triton.cdiv(outputs, 32))](sums, self.matrix, self.offset, logits, *sizes)
        return logits


def pixel_counts(operator: FoldedSPConv, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """How often each pixel counts in the output: in each tap, ``(kh·kw, H·W)``, and in the pooled grid, ``(H·W,)``."""
    (rows, row), (columns, column) = (_counts(operator, axis, size[axis]) for axis in (0, 1))
    taps = rows[:, None, :, None] * columns[None, :, None, :]
    return taps.flatten(2).flatten(0, 1), (row[:, None] * column).flatten()


def _counts(operator: FoldedSPConv, axis: int, length: int) -> tuple[Tensor, Tensor]:
    """``pixel_counts`` in one direction."""
    k, s, d, p = (v[axis] for v in (operator.kernel_size, operator.stride, operator.dilation, operator.padding))
    before, padded = p - d * (k - 1) // 2, length + 2 * p - d * (k - 1)
    taps, grid = torch.zeros(k, length), torch.zeros(length)
    for start in range(0, padded, s):
        for a in range(k):
            if 0 <= (y := start - p + a * d) < length:
                taps[a, y] += 1
        cell = range(start, min(start + s, padded))
        for y in (c - before for c in cell):
            if 0 <= y < length:
                grid[y] += 1 / len(cell)
    return taps, grid


def _of_taps(operator: FoldedSPConv) -> Tensor:
    """What each tap's sum adds to U3: ``(kh·kw, αL, C_out)``."""
    return heavy_kernel(operator).permute(2, 3, 1, 0).flatten(0, 1)


def _of_grid(operator: FoldedSPConv) -> Tensor:
    """What the pooled means add to U3 − U1: ``(C_in, C_out)``."""
    front = operator.gwc.weight.new_zeros(operator.representative, operator.out_channels)
    if operator.heavy == "gwc+pwc":
        front = operator.pwc.weight.detach().flatten(1).t()
    return torch.cat([front, -operator.redundant.weight.detach().flatten(1).t()])


def _fusion(operator: FoldedSPConv, tiles: Tiles, pixels: int) -> int:
    if not operator.has_redundant:
        return ALONE
    if operator.fusion == "sum":
        return SUM
    if tiles.within and tiles.pixels < pixels:
        raise ValueError(f"SPConv: a tile of {tiles.pixels} pixels does not hold an output map of {pixels}")
    return WITHIN if tiles.within else BEFORE


def _out_size(operator: FoldedSPConv, size: tuple[int, int]) -> tuple[int, int]:
    """(H', W')."""
    left, right, top, bottom = operator.margins
    height, width = size[0] + top + bottom, size[1] + left + right
    return -(-height // operator.stride[0]), -(-width // operator.stride[1])


def _geometry(operator: FoldedSPConv, size: tuple[int, int]) -> tuple[int, ...]:
    """In the order in which ``_spconv`` takes it: the input's size, and for both directions what a convolution has.

    And for the pooled grid, where its first cell begins and where the last one ends.
    """
    left, right, top, bottom = operator.margins
    cells = (top, left, min(size[0], size[0] + bottom), min(size[1], size[1] + right))
    ends = (size[0] + bottom, size[1] + right)
    return (
        *size, *operator.kernel_size, *operator.stride, *operator.padding, *operator.dilation, *cells, *ends
    )  # fmt: skip


@triton.jit
def _exactly(a, b, acc):
    """acc + a · b; products of single precision stay so."""
    if a.dtype == tl.float32:
        return tl.dot(a, b, acc, input_precision="ieee")
    else:
        return tl.dot(a, b, acc)


@triton.jit
def _spconv(
    x, heavy, light, heavy_bias, light_bias, logits, out, batch,
    H: tl.constexpr, W: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    TOP: tl.constexpr, LEFT: tl.constexpr, LAST_ROW: tl.constexpr, LAST_COLUMN: tl.constexpr,
    END_ROW: tl.constexpr, END_COLUMN: tl.constexpr,
    HO: tl.constexpr, WO: tl.constexpr, C: tl.constexpr, R: tl.constexpr, N: tl.constexpr,
    PIXELS: tl.constexpr, OUTPUTS: tl.constexpr, HEAVY: tl.constexpr, LIGHT: tl.constexpr,
    FUSION: tl.constexpr, RELU: tl.constexpr, LIMIT: tl.constexpr,
):  # fmt: skip
    """``x`` (B, H, W, C), ``heavy`` (KH·KW·R, N), ``light`` (C − R, N), ``logits`` (B, N) → ``out`` (B, HO, WO, N)."""
    COLUMNS: tl.constexpr = (N + OUTPUTS - 1) // OUTPUTS
    PARTS: tl.constexpr = 1 if FUSION == 3 else (HO * WO + PIXELS - 1) // PIXELS
    IMAGES: tl.constexpr = PIXELS // (HO * WO) if FUSION == 3 else 1
    n = (tl.program_id(0) % COLUMNS) * OUTPUTS + tl.arange(0, OUTPUTS)
    tile = tl.program_id(0) // COLUMNS
    first = (tile // PARTS) * IMAGES  # image of this program
    at = (tile % PARTS) * PIXELS + tl.arange(0, PIXELS)
    slot = at // (HO * WO)
    pixel = at % (HO * WO)
    there = (slot < IMAGES) & (first + slot < batch)
    x += first.to(tl.int64) * (H * W * C)
    out += first.to(tl.int64) * (HO * WO * N)
    i = pixel // WO
    j = pixel % WO
    wanted = n < N
    y0 = i * SH - PH
    z0 = j * SW - PW
    base = ((slot * H + y0) * W + z0) * C
    acc = tl.zeros([PIXELS, OUTPUTS], dtype=tl.float32)
    CHUNKS: tl.constexpr = (R + HEAVY - 1) // HEAVY
    for step in range(KH * KW * CHUNKS):
        tap = step // CHUNKS
        c = (step % CHUNKS) * HEAVY + tl.arange(0, HEAVY)
        a = (tap // KW) * DH
        b = (tap % KW) * DW
        seen = there & (y0 + a >= 0) & (y0 + a < H) & (z0 + b >= 0) & (z0 + b < W)
        read = x + (base + (a * W + b) * C)[:, None] + c[None, :]
        weigh = heavy + (tap * R + c)[:, None] * N + n[None, :]
        if R % HEAVY == 0:
            values = tl.load(read, mask=seen[:, None], other=0.0)
            weights = tl.load(weigh) if N % OUTPUTS == 0 else tl.load(weigh, mask=wanted[None, :], other=0.0)
        else:
            values = tl.load(read, mask=seen[:, None] & (c < R)[None, :], other=0.0)
            weights = tl.load(weigh, mask=(c < R)[:, None] & wanted[None, :], other=0.0)
        acc = _exactly(values, weights, acc)

    acc += tl.load(heavy_bias + n, mask=wanted, other=0.0)[None, :]
    u3 = acc
    if FUSION == 2:  # β = 1/(1 + e^−d): β·U3 + (1 − β)·U1 = (1 − β)·(e^d·U3 + U1)
        d = tl.load(logits + first * N + n, mask=wanted, other=0.0)
        d = tl.minimum(tl.maximum(d, -LIMIT), LIMIT)
        acc = acc * tl.exp(d)[None, :]
    if FUSION == 3:
        acc = tl.zeros([PIXELS, OUTPUTS], dtype=tl.float32)

    if FUSION > 0:
        y0 = i * SH - TOP
        z0 = j * SW - LEFT
        base = ((slot * H + y0) * W + z0) * C + R
        cell_rows = tl.maximum(tl.minimum(SH, END_ROW - y0), 1)  # of the last cell there may be but a part
        cell_columns = tl.maximum(tl.minimum(SW, END_COLUMN - z0), 1)
        share = 1.0 / (cell_rows * cell_columns).to(tl.float32)
        for start in tl.range(0, C - R, LIGHT, num_stages=None if SH * SW == 1 else 1):
            c = start + tl.arange(0, LIGHT)
            if SH * SW == 1:
                seen = there & (y0 >= 0) & (y0 < LAST_ROW) & (z0 >= 0) & (z0 < LAST_COLUMN)
                mask = seen[:, None] & (c < C - R)[None, :]
                values = tl.load(x + base[:, None] + c[None, :], mask=mask, other=0.0)
            else:
                total = tl.zeros([PIXELS, LIGHT], dtype=tl.float32)
                for cell in tl.static_range(SH * SW):
                    a = cell // SW
                    b = cell % SW
                    seen = there & (y0 + a >= 0) & (y0 + a < LAST_ROW) & (z0 + b >= 0) & (z0 + b < LAST_COLUMN)
                    mask = seen[:, None] & (c < C - R)[None, :]
                    total += tl.load(x + (base + (a * W + b) * C)[:, None] + c[None, :], mask=mask, other=0.0)
                values = (total * share[:, None]).to(x.dtype.element_ty)
            mask = (c < C - R)[:, None] & wanted[None, :]
            weights = tl.load(light + c[:, None] * N + n[None, :], mask=mask, other=0.0)
            acc = _exactly(values, weights, acc)
        acc += tl.load(light_bias + n, mask=wanted, other=0.0)[None, :]

    if FUSION == 2:
        acc = acc * tl.sigmoid(-d)[None, :]
    if FUSION == 3:
        gain = tl.load(logits + n, mask=wanted, other=0.0)
        between = u3 - acc
        for own in tl.static_range(IMAGES):
            of_own = tl.where((slot == own)[:, None], between, 0.0)
            mean = tl.sum(of_own, axis=0) / (HO * WO)
            acc += of_own * tl.sigmoid(mean * gain)[None, :]
    if RELU:
        acc = tl.maximum(acc, 0.0)
    mask = there[:, None] & wanted[None, :]
    tl.store(out + at[:, None] * N + n[None, :], acc.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _sums(
    x, counts, sums, PX: tl.constexpr, C: tl.constexpr, PARTS: tl.constexpr, STEPS: tl.constexpr,
    T: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """``x`` (B, PX, C), ``counts`` (T, PX) → ``sums`` (B, PARTS, T, C): each part of an image's pixels alone."""
    image = tl.program_id(0) // PARTS
    part = tl.program_id(0) % PARTS
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    t = tl.arange(0, T)
    acc = tl.zeros([T, CHANNELS], dtype=tl.float32)
    for step in range(STEPS):
        p = (part * STEPS + step) * PIXELS + tl.arange(0, PIXELS)
        weights = tl.load(counts + t[:, None] * PX + p[None, :], mask=(p < PX)[None, :], other=0.0)
        mask = (p < PX)[:, None] & (c < C)[None, :]
        values = tl.load(x + (image * PX + p)[:, None] * C + c[None, :], mask=mask, other=0.0)
        acc = _exactly(weights, values, acc)
    where = (tl.program_id(0) * T + t)[:, None] * C + c[None, :]
    tl.store(sums + where, acc, mask=(c < C)[None, :])


@triton.jit
def _logits(
    sums, matrix, offset, logits, batch, PARTS: tl.constexpr, C: tl.constexpr, R: tl.constexpr, N: tl.constexpr,
    TAPS: tl.constexpr, T: tl.constexpr, IMAGES: tl.constexpr = 16, OUTPUTS: tl.constexpr = 32, STEP: tl.constexpr = 32,
):  # fmt: skip
    """``sums`` (B, PARTS, T, C), ``matrix`` (TAPS·R + C, N), ``offset`` (N,) → ``logits`` (B, N)."""
    image = tl.program_id(0) * IMAGES + tl.arange(0, IMAGES)
    n = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    acc = tl.zeros([IMAGES, OUTPUTS], dtype=tl.float32)
    for first in range(0, TAPS * R + C, STEP):
        k = first + tl.arange(0, STEP)
        on_grid = k >= TAPS * R
        source = tl.where(on_grid, TAPS * C + k - TAPS * R, (k // R) * C + k % R)
        mask = (image < batch)[:, None] & (k < TAPS * R + C)[None, :]
        total = tl.zeros([IMAGES, STEP], dtype=tl.float32)
        for part in tl.static_range(PARTS):
            where = (image * PARTS + part)[:, None] * (T * C) + source[None, :]
            total += tl.load(sums + where, mask=mask, other=0.0)
        mask = (k < TAPS * R + C)[:, None] & (n < N)[None, :]
        weights = tl.load(matrix + k[:, None] * N + n[None, :], mask=mask, other=0.0)
        acc = _exactly(total, weights.to(tl.float32), acc)
    acc += tl.load(offset + n, mask=n < N, other=0.0)[None, :]
    mask = (image < batch)[:, None] & (n < N)[None, :]
    tl.store(logits + image[:, None] * N + n[None, :], acc, mask=mask)


@triton.jit
def _fuse(
    heavy, light, logits, heavy_bias, light_bias, rows, PX: tl.constexpr, N: tl.constexpr,
    ROWS: tl.constexpr, OUTPUTS: tl.constexpr, RELU: tl.constexpr,
):  # fmt: skip
    """β·(``heavy`` + bias) + (1 − β)·(``light`` + bias), both (rows, N), in the place of ``heavy``."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    n = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    mask = (row < rows)[:, None] & (n < N)[None, :]
    where = row[:, None] * N + n[None, :]
    u3 = tl.load(heavy + where, mask=mask, other=0.0).to(tl.float32)
    u1 = tl.load(light + where, mask=mask, other=0.0).to(tl.float32)
    u3 += tl.load(heavy_bias + n, mask=n < N, other=0.0)[None, :]
    u1 += tl.load(light_bias + n, mask=n < N, other=0.0)[None, :]
    d = tl.load(logits + (row // PX)[:, None] * N + n[None, :], mask=mask, other=0.0)
    out = u1 + (u3 - u1) * tl.sigmoid(d)
    if RELU:
        out = tl.maximum(out, 0.0)
    tl.store(heavy + where, out.to(heavy.dtype.element_ty), mask=mask)
