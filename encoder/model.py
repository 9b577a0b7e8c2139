"""ESDNet: one pixel and one year through twelve quantized steps and back, as a torch module.

The network is lists of layers around finite scalar quantization. Every layer acts on [pixels, time, channels]
float32 and has the name and the tensors that the codec file stores, so that `esd.codec` repeats it without torch.
Encoder input: [pixels, 36, 12], six normalised bands and six flags that say which of them were observed. Encoder
output: [pixels, steps, len(levels)]. Output of a decoder: [pixels, 36, 6], normalised reflectance; of the network of
the uncertainty: the logarithm of the half width of an interval around it, in the same unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from vector_quantize_pytorch import FSQ

from esd.codec import STEPS_ALLOWED
from esd.dekad import BANDS, DEKADS, STEPS
from esd.errors import EncoderError

__all__ = ["ESDNet", "Layer"]

Layer = tuple[str | int, ...]
"""An operation and its sizes: ("conv", width, kernel), ("residual", hidden width, kernel), ("fold", width, time steps) to
that many time steps, those of the codes if none are given, ("unfold", width) back to 36, ("flatten", width) from all
time steps to one, ("expand", time steps, width) back, ("mix", hidden width), ("linear", width) or ("relu",)."""

BOUND_MARGIN = 1e-3
"""Share by which the quantizer's bound lies outside of the outermost levels."""
Shape = tuple[int, int]
"""(time steps, channels) of one pixel between two layers."""


class Conv(nn.Linear):
    """Convolution over time of an odd kernel, zero-padded to the same length.

    The weight is kept as a matrix [width, channels * kernel], the form that the optimizer needs.
    """

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__(channels * kernel, width)
        self.shape = (width, channels, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Map [pixels, time, channels] to [pixels, time, width]."""
        kernel = self.shape[2]
        if kernel == 1:
            return super().forward(x)
        weight = self.weight.view(self.shape)
        return functional.conv1d(x.transpose(1, 2), weight, self.bias, padding=kernel // 2).transpose(1, 2)


class Residual(nn.ModuleList):
    """x + conv(relu(conv(relu(x)))); the second convolution starts at zero, so a deep stack starts as identity."""

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__([Conv(channels, hidden, kernel), Conv(hidden, channels, kernel)])
        _start_at_zero(self[1])

    def forward(self, x: Tensor) -> Tensor:
        """Map [pixels, time, channels] to the same shape."""
        return x + self[1](functional.relu(self[0](functional.relu(x))))


class Mix(nn.ModuleList):
    """x + W2 relu(W1 x) over the time axis, the same for every channel: each step sees the whole year."""

    def __init__(self, time: int, hidden: int) -> None:
        super().__init__([nn.Linear(time, hidden), nn.Linear(hidden, time)])
        _start_at_zero(self[1])

    def forward(self, x: Tensor) -> Tensor:
        """Map [pixels, time, channels] to the same shape."""
        return x + self[1](functional.relu(self[0](x.transpose(1, 2)))).transpose(1, 2)


class Fold(nn.Linear):
    """Join time steps by a linear layer over all of their channels; or split them, each part of the channels a step."""

    def __init__(self, joined: int, width: int, steps: int) -> None:
        super().__init__(joined, width)
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        """Map [pixels, time, channels] to [pixels, steps, width]."""
        return super().forward(x.reshape(x.shape[0], self.steps, -1))


class Flatten(nn.Linear):
    """Join all time steps of a pixel by a linear layer over all of their channels."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [pixels, time, channels] to [pixels, 1, width]."""
        return super().forward(x.reshape(x.shape[0], 1, -1))


class Expand(nn.Linear):
    """Spread what is known of a pixel over time by a linear layer."""

    def __init__(self, channels: int, time: int, width: int) -> None:
        super().__init__(channels, time * width)
        self.time = time

    def forward(self, x: Tensor) -> Tensor:
        """Map [pixels, 1, channels] to [pixels, time, width]."""
        return super().forward(x).reshape(x.shape[0], self.time, -1)


class Unfold(nn.Linear):
    """Split every step into its dekads by a linear layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [pixels, steps, channels] to [pixels, 36, width]."""
        return super().forward(x).reshape(x.shape[0], DEKADS, -1)


def _start_at_zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _multiply_adds_of_conv(shape: Shape, width: int, kernel: int) -> int:
    return shape[0] * shape[1] * width * kernel


def _build_conv(shape: Shape, _steps: int, width: int, kernel: int) -> tuple[nn.Module, Shape, int]:
    return Conv(shape[1], width, kernel), (shape[0], width), _multiply_adds_of_conv(shape, width, kernel)


def _build_residual(shape: Shape, _steps: int, hidden: int, kernel: int) -> tuple[nn.Module, Shape, int]:
    return Residual(shape[1], hidden, kernel), shape, 2 * _multiply_adds_of_conv(shape, hidden, kernel)


def _build_mix(shape: Shape, _steps: int, hidden: int) -> tuple[nn.Module, Shape, int]:
    return Mix(shape[0], hidden), shape, 2 * shape[0] * hidden * shape[1]


def _build_fold(shape: Shape, steps: int, width: int, time: int = 0) -> tuple[nn.Module, Shape, int]:
    steps = time or steps
    joined, left = divmod(shape[0] * shape[1], steps)
    if left or (shape[0] % steps and steps % shape[0]):
        raise EncoderError(f"a fold meets {shape[0]} time steps of {shape[1]} channels; {steps} cannot be made of them")
    return Fold(joined, width, steps), (steps, width), steps * joined * width


def _build_unfold(shape: Shape, _steps: int, width: int) -> tuple[nn.Module, Shape, int]:
    if DEKADS % shape[0]:
        raise EncoderError(f"an unfold meets {shape[0]} time steps; they have to divide {DEKADS}")
    return Unfold(shape[1], DEKADS // shape[0] * width), (DEKADS, width), DEKADS * shape[1] * width


def _build_flatten(shape: Shape, _steps: int, width: int) -> tuple[nn.Module, Shape, int]:
    joined = shape[0] * shape[1]
    return Flatten(joined, width), (1, width), joined * width


def _build_expand(shape: Shape, _steps: int, time: int, width: int) -> tuple[nn.Module, Shape, int]:
    if shape[0] != 1:
        raise EncoderError(f"an expand meets {shape[0]} time steps; put a flatten before it")
    return Expand(shape[1], time, width), (time, width), shape[1] * time * width


def _build_linear(shape: Shape, _steps: int, width: int) -> tuple[nn.Module, Shape, int]:
    return nn.Linear(shape[1], width), (shape[0], width), shape[0] * shape[1] * width


def _build_relu(shape: Shape, _steps: int) -> tuple[nn.Module, Shape, int]:
    return nn.ReLU(), shape, 0


BUILDERS: Mapping[str, Callable[..., tuple[nn.Module, Shape, int]]] = {
    "conv": _build_conv,
    "relu": _build_relu,
    "residual": _build_residual,
    "fold": _build_fold,
    "unfold": _build_unfold,
    "mix": _build_mix,
    "flatten": _build_flatten,
    "expand": _build_expand,
    "linear": _build_linear,
}


def _build(layers: Sequence[Layer], start: Shape, end: Shape, steps: int, part: str) -> tuple[nn.Sequential, int]:
    shape, modules, work = start, [], 0
    for layer in layers:
        operation, sizes = str(layer[0]), cast(tuple[int, ...], tuple(layer[1:]))
        if operation not in BUILDERS:
            raise EncoderError(f"{part} layer {operation!r} is unknown; use one of {', '.join(sorted(BUILDERS))}")
        even = operation in ("conv", "residual") and len(sizes) == 2 and sizes[1] % 2 == 0
        if even or any(not isinstance(size, int) or size < 1 for size in sizes):
            raise EncoderError(f"{part} layer {layer!r} has a wrong size; widths are at least 1 and kernels odd")
        try:
            module, shape, cost = BUILDERS[operation](shape, steps, *sizes)
        except TypeError as error:
            raise EncoderError(f"{part} layer {layer!r} has {len(sizes)} sizes; {operation} takes another number") from error
        modules.append(module)
        work += cost
    if shape != end:
        raise EncoderError(f"{part} layers end at {shape} (time, channels); they have to end at {end}")
    return nn.Sequential(*modules), work


class ESDNet(nn.Module):
    """Encoder, quantizer, decoders for results and for looking, and the network of the uncertainty.

    `levels` are the FSQ levels of one step, `parts` lists of layers (see Layer): "encoder" and "full" always, "fast", a
    light decoder of the same codes, and "uncertainty" where wanted. `steps` divide the 36 dekads of a year. Raises
    EncoderError if layers do not lead from dekads to steps and back.
    """

    def __init__(self, levels: Sequence[int], parts: Mapping[str, Sequence[Layer]], steps: int = STEPS) -> None:
        super().__init__()
        if steps not in STEPS_ALLOWED:
            raise EncoderError(f"steps is {steps}; it has to be one of {', '.join(map(str, STEPS_ALLOWED))}")
        dekads, codes = (DEKADS, len(BANDS)), (steps, len(levels))
        self.levels, self.steps = tuple(int(level) for level in levels), steps
        self.layers = {name: tuple(map(tuple, layers)) for name, layers in parts.items() if layers}
        self.quantizer = FSQ(list(levels))
        self.counts: Tensor
        self.register_buffer("counts", torch.tensor(self.levels), persistent=False)
        self.work: dict[str, int] = {}
        networks = {}
        for name, layers in self.layers.items():
            start, end = ((DEKADS, 2 * len(BANDS)), codes) if name == "encoder" else (codes, dekads)
            networks[name], self.work[name] = _build(layers, start, end, steps, name)
        self.networks = nn.ModuleDict(networks)

    def latent(self, features: Tensor) -> Tensor:
        """Encode without quantizing: [n, 36, 12] to [n, steps, dims], unbounded."""
        return cast(Tensor, self.networks["encoder"](features)).float()

    def bounded(self, latent: Tensor) -> Tensor:
        """Return the FSQ values of a latent before they are rounded to levels, about -1 to 1, same shape.

        Source: Mentzer et al., "Finite Scalar Quantization" (2023), appendix A; as the quantizer does it.
        """
        half_range = (self.counts - 1) * (1 + BOUND_MARGIN) / 2
        offset = torch.where(self.counts % 2 == 0, 0.5, 0.0)
        bounded = (latent + (offset / half_range).atanh()).tanh() * half_range - offset
        return bounded / (self.counts // 2)

    def quantize(self, latent: Tensor) -> Tensor:
        """Return the FSQ values of a latent, same shape; gradients pass straight through the rounding."""
        return cast(Tensor, self.quantizer(latent)[0])

    def decode(self, values: Tensor, decoder: str = "full") -> Tensor:
        """Decode FSQ values [n, steps, dims] to normalised [n, 36, 6] by the network named."""
        return cast(Tensor, self.networks[decoder](values)).float()

    def forward(self, features: Tensor) -> Tensor:
        """Encode, quantize and decode in full: [n, 36, 12] to [n, 36, 6], normalised."""
        return self.decode(self.quantize(self.latent(features)))

    def codes(self, features: Tensor) -> Tensor:
        """Return the codes of normalised input: [n, 36, 12] to int32 [n, steps]."""
        return cast(Tensor, self.quantizer(self.latent(features))[1])

    def specification(self) -> dict[str, list[dict[str, Any]]]:
        """Return the layers of each network as the codec file lists them: operation and name of their tensors."""
        return {
            part: [
                {"op": "relu"} if layer[0] == "relu" else {"op": layer[0], "name": f"{part}.{position}"}
                for position, layer in enumerate(layers)
            ]
            for part, layers in self.layers.items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights under the names that `specification` gives them, float32, in the codec file's shapes."""
        shapes = {f"{name}.weight": part.shape for name, part in self.networks.named_modules() if isinstance(part, Conv)}
        weights = ((name, value.detach().float()) for name, value in self.networks.state_dict().items())
        return {name: value.reshape(shapes.get(name, value.shape)).contiguous() for name, value in weights}
