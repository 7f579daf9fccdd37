"""FAN, the face alignment network: a stem and one to four hourglasses, each of which predicts all heatmaps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facegraph.codecs.heatmap import HeatmapCodec
from facegraph.errors import ConfigError, check_multiple
from facegraph.models.fan.hourglass import NORMS, POOLS, ConvBlock, HourGlass, Norm
from facegraph.structures import LandmarkModel, LandmarkOutput, ShapeStatistics

STEM_WIDTHS = (64, 128)
MOST_MODULES = 4


class FAN(LandmarkModel):
    """Stacked hourglasses: image -> one heatmap per landmark and stack -> landmarks.

    State-dict names are those of the published 2DFAN weights, plus mean_shape and correlation. Weights start as torch
    makes them, but for output_std.

    Source: Bulat and Tzimiropoulos 2017 (How far are we from solving the 2D & 3D face alignment problem?), in the form
    that ibug released with 2dfan2_alt. Input there: RGB in [0, 1], conf/normalise/unit. Deviation: output_std.

    Args:
        input_size: side S of the crop in px, a multiple of stem_stride * stem_pool * 2^depth.
        statistics: number of landmarks N; the shape itself is not used.
        codec: from heatmaps to landmarks.
        num_modules: hourglasses, 1 to 4.
        num_features: their width F, a multiple of 4.
        depth: halvings within each.
        pool: max | avg, in the stem and the hourglasses.
        norm: batch | instance.
        stem_kernel: odd side of the first convolution.
        stem_stride: of the first convolution.
        stem_pool: side of the stem's pooling, 1 for none. Heatmaps have the side S / (stem_stride * stem_pool).
        output_std: spread of the first weights of the convolutions that make heatmaps: maps start nearly empty, like
            their targets. None for torch's, as ibug trained it.
        channels_last: memory layout of the convolutions; faster on CPU and GPU.

    Raises:
        ConfigError: a switch out of range, or an input_size that these do not divide.
    """

    def __init__(
        self,
        input_size: int,
        statistics: ShapeStatistics,
        codec: HeatmapCodec,
        num_modules: int = 2,
        num_features: int = 256,
        depth: int = 4,
        pool: str = "max",
        norm: str = "batch",
        stem_kernel: int = 7,
        stem_stride: int = 2,
        stem_pool: int = 2,
        output_std: float | None = 0.001,
        channels_last: bool = True,
    ) -> None:
        super().__init__(statistics)
        _check_switches(num_modules, num_features, depth, pool, norm)
        _check_stem(stem_kernel, stem_stride, stem_pool)
        _check_input(input_size, stem_stride * stem_pool, depth, norm)
        self.input_size = input_size
        self.codec = codec
        self.num_modules = num_modules
        self.pool, self.stem_pool = POOLS[pool], stem_pool
        self._build_stem(NORMS[norm], stem_kernel, stem_stride, num_features)
        for stack in range(num_modules):
            module = HourGlass(depth, num_features, self.pool, NORMS[norm])
            self._build_stack(stack, module, num_features, statistics.mean_shape.shape[0], NORMS[norm])
            if output_std is not None:
                _start_empty(self._part("l", stack), output_std)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.memory_format)

    def _build_stem(self, norm: Norm, kernel: int, stride: int, width: int) -> None:
        first, second = STEM_WIDTHS
        self.conv1 = nn.Conv2d(3, first, kernel, stride, padding=kernel // 2)
        self.bn1 = norm(first)
        self.conv2 = ConvBlock(first, second, norm)
        self.conv3 = ConvBlock(second, second, norm)
        self.conv4 = ConvBlock(second, width, norm)

    def _build_stack(self, stack: int, hourglass: HourGlass, width: int, num_landmarks: int, norm: Norm) -> None:
        self.add_module(f"m{stack}", hourglass)
        self.add_module(f"top_m_{stack}", ConvBlock(width, width, norm))
        self.add_module(f"conv_last{stack}", nn.Conv2d(width, width, 1))
        self.add_module(f"bn_end{stack}", norm(width))
        self.add_module(f"l{stack}", nn.Conv2d(width, num_landmarks, 1))
        if stack < self.num_modules - 1:
            self.add_module(f"bl{stack}", nn.Conv2d(width, width, 1))
            self.add_module(f"al{stack}", nn.Conv2d(num_landmarks, width, 1))

    def forward(self, image: Tensor) -> LandmarkOutput:
        """(B, 3, S, S) normalised -> landmarks of the last stack and heatmaps of all.

        stage_landmarks of all stacks in training; in evaluation only the last stack is decoded and they are None.
        """
        heatmaps = self.heatmaps(image)
        decoded = heatmaps if self.training else heatmaps[:, -1:]
        landmarks = self.codec.decode(decoded, self.input_size)
        return LandmarkOutput(
            landmarks=landmarks[:, -1],
            stage_landmarks=landmarks if self.training else None,
            heatmaps=heatmaps,
            confidence=self.codec.confidence(heatmaps[:, -1]),
        )

    def heatmaps(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> (B, T, N, h, w) float32 of T stacks."""
        features = self._stem(image.contiguous(memory_format=self.memory_format))
        found = []
        for stack in range(self.num_modules):
            top = self._part("top_m_", stack)(self._part("m", stack)(features))
            top = F.relu(self._part("bn_end", stack)(self._part("conv_last", stack)(top)))
            heatmaps = self._part("l", stack)(top)
            found.append(heatmaps)
            if stack < self.num_modules - 1:
                features = features + self._part("bl", stack)(top) + self._part("al", stack)(heatmaps)
        return torch.stack(found, dim=1).float()

    def _stem(self, image: Tensor) -> Tensor:
        features = self.conv2(F.relu(self.bn1(self.conv1(image))))
        if self.stem_pool > 1:
            features = self.pool(features, self.stem_pool)
        return self.conv4(self.conv3(features))

    def _part(self, name: str, stack: int) -> nn.Module:
        return self.get_submodule(f"{name}{stack}")


def _start_empty(convolution: nn.Module, spread: float) -> None:
    if not spread > 0:
        raise ConfigError(
            f"model.output_std={spread} is out of range; it must be positive, for example 0.001, or null."
        )
    nn.init.normal_(convolution.get_parameter("weight"), std=spread)
    nn.init.zeros_(convolution.get_parameter("bias"))


def _check_switches(num_modules: int, num_features: int, depth: int, pool: str, norm: str) -> None:
    if not 1 <= num_modules <= MOST_MODULES:
        raise ConfigError(f"model.num_modules={num_modules} is out of range; FAN has 1 to {MOST_MODULES} hourglasses.")
    check_multiple("model.num_features", num_features, 4, "which the blocks' halves and quarters need")
    if depth < 1:
        raise ConfigError(f"model.depth={depth} is out of range; an hourglass halves at least once. FAN has 4.")
    for name, value, table in (("pool", pool, POOLS), ("norm", norm, NORMS)):
        if value not in table:
            raise ConfigError(f"model.{name}='{value}' is unknown; use {' or '.join(table)}.")


def _check_stem(kernel: int, stride: int, pool: int) -> None:
    if kernel < 1 or kernel % 2 == 0:
        raise ConfigError(f"model.stem_kernel={kernel} is out of range; it must be odd: 7 (FAN), 5 or 3.")
    if stride < 1 or pool < 1:
        raise ConfigError(
            f"model.stem_stride={stride} and model.stem_pool={pool} must be 1 or more; FAN has 2 and 2, 1 is none."
        )


def _check_input(input_size: int, stem: int, depth: int, norm: str) -> None:
    """The last hourglass level has input_size / (stem * 2^depth) px; an instance of 1 px has no variance."""
    step = stem * 2**depth
    least = step * (2 if norm == "instance" else 1)
    if input_size >= least and input_size % step == 0:
        return
    near = max(least, round(input_size / step) * step)
    more = f" and, with instance norm, at least {least}" if least > step else ""
    raise ConfigError(
        f"input_size={input_size} does not fit FAN: it must be a positive multiple of {step} (stem_stride * stem_pool "
        f"* 2^depth = {stem} * 2^{depth}){more}. Try input_size={near}, or a smaller model.depth."
    )
