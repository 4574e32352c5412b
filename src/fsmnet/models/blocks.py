"""Blocks shared by the FSMNet variants.

Section, equation and figure numbers refer to Chen et al., MICCAI 2024 (arXiv 2409.14113). ``C`` is the feature width;
every block keeps ``(B, C, H, W)`` unless it says otherwise.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsmnet.errors import UserError
from fsmnet.models.kernels.backward import attend, join, prelu, product, select, written_out
from fsmnet.models.kernels.fused import add, convolve
from fsmnet.models.kernels.layout import Layout, by_pixel, is_channels_last, planes
from fsmnet.models.polar import amplitude_phase, from_amplitude_phase
from fsmnet.models.precision import full_precision, without_autocast


def worked_in_parts(x: Tensor) -> bool:
    """Whether temporary maps are to be made part by part, so that they are small and stay in the processor's cache.

    Not where the backward pass keeps them anyway, on a GPU, and in a graph.
    """
    kept = torch.is_grad_enabled() and x.requires_grad
    return not (kept or x.device.type != "cpu" or torch.compiler.is_compiling())


def channel_groups(x: Tensor) -> list[slice]:
    """Groups of channels that are transformed one after the other, see :func:`worked_in_parts`."""
    channels = x.shape[1]
    step = max(8, 2 * torch.get_num_threads()) if worked_in_parts(x) else channels
    return [slice(start, start + step) for start in range(0, channels, step)]


class Pointwise(nn.Conv2d):
    """A 1x1 convolution that keeps channels-last memory, as a product with the pixels of all images.

    PyTorch computes some 1x1 convolutions on the CPU channels-first, and the next layer would rearrange the result.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        return pointwise(x, self.weight, self.bias)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What :class:`Pointwise` computes; ``weight`` is ``(outputs, inputs, 1, 1)``."""
    half = x.dtype == torch.bfloat16 and written_out(x, weight)  # then oneDNN's convolutions are faster
    if half or not is_channels_last(x):
        return F.conv2d(x, weight, bias)
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


class PReLU(nn.PReLU):
    """PReLU with one slope, whose gradient on a processor does not take longer than a convolution's."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in and out."""
        return prelu(x, self.weight) if x.device.type == "cpu" and written_out(x) else super().forward(x)


class ConvPReLU(nn.Module):
    """3x3 convolution without bias, then PReLU with one slope: the head (1 -> C), the tail (C -> 1), a group's end."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.act = PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H, W)``."""
        if isinstance(self.act, nn.LeakyReLU):  # see fsmnet.inference.simplify
            return convolve(self.conv, x, "leaky_relu", self.act.negative_slope)
        out: Tensor = self.act(self.conv(x))
        return out


class Down(nn.Module):
    """Halves the image: 3x3 convolution, space to depth, 1x1 convolution; linear, without bias."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.smooth = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.mix = Pointwise(4 * features, features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, H/2, W/2)``; H and W even."""
        if written_out(x):
            with without_autocast(x):
                kernel = self.kernel().contiguous(memory_format=Layout.like(x).memory_format)
            return F.conv2d(x, kernel, stride=2, padding=1)
        out: Tensor = self.mix(F.pixel_unshuffle(self.smooth(x), 2))
        return out

    def kernel(self) -> Tensor:
        """Kernel ``(C, C, 4, 4)`` of the convolution of stride 2, padding 1, that does the same, with 40% of the work.

        The 3x3 convolution at row ``2i + r`` (r = 0, 1) reads rows ``2i + r + k - 1`` (k = 0, 1, 2), that is
        ``2i - 1 + t`` with ``t = r + k`` from 0 to 3: four rows. Outside the image both read zeros. The 1x1 convolution
        sums over channels and r, so the kernels sum where ``r + k`` is the same.
        """
        smooth = self.smooth.weight
        mix = self.mix.weight.view(smooth.shape[0], smooth.shape[0], 2, 2)
        parts = torch.einsum("omrs,mikl->rsoikl", mix, smooth)
        # Two rows of parts that overlap in all but one row of the kernel, and columns likewise.
        rows = F.pad(parts[0], (0, 0, 0, 1)) + F.pad(parts[1], (0, 0, 1, 0))
        return F.pad(rows[0], (0, 1)) + F.pad(rows[1], (1, 0))


class Up(nn.Module):
    """Doubles the image: 1x1 convolution to 4C, depth to space, PReLU.

    Args:
        features: width C.
        outputs: width of what comes out, if it is another one.
    """

    def __init__(self, features: int, outputs: int | None = None) -> None:
        super().__init__()
        self.expand = Pointwise(features, 4 * (outputs or features))
        self.act = PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, outputs, 2H, 2W)``."""
        if is_channels_last(x) and not torch.compiler.is_compiling():
            expanded = self._by_rows(x)
        else:
            expanded = F.pixel_shuffle(self.expand(x), 2)
        out: Tensor = self.act(expanded)
        return out

    def _by_rows(self, x: Tensor) -> Tensor:
        """The same with the convolution's outputs in another order, so that whole runs of memory are copied."""
        weight, bias = (
            t.unflatten(0, (-1, 2, 2)).permute(1, 2, 0, *range(3, t.dim() + 2)).flatten(0, 2)
            for t in (self.expand.weight, cast("Tensor", self.expand.bias))
        )
        batch, _, height, width = x.shape
        expanded = pointwise(x, weight, bias).permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))
        image: Tensor = expanded.transpose(2, 3).reshape(batch, 2 * height, 2 * width, -1)
        return image.permute(0, 3, 1, 2)


class ResBlock(nn.Module):
    """``relu(x + conv(relu(conv(x))))`` with 3x3 convolutions without bias."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        return convolve(self.conv2, convolve(self.conv1, x, "relu"), "relu", plus=x)


class ResidualGroup(nn.Module):
    """Spatial branch of FSFE: residual blocks and a closing convolution, added to a scaled input."""

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(ResBlock(features) for _ in range(blocks)))
        self.close = ConvPReLU(features, features)
        self.scale: nn.Parameter | float = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        closed: Tensor = self.close(self.blocks(x))
        if isinstance(self.scale, float):  # see fsmnet.inference.simplify
            return closed.add_(x, alpha=self.scale)
        return add(closed, x * self.scale.view(()))  # without dimensions it keeps the precision of x


class FrequencyBlock(nn.Module):
    """Frequency branch of FSFE: residual convolutions on the amplitude and the phase of a real FFT.

    Every output pixel sees the whole image. Transform, angle and polar form stay in float32 under autocast.

    Args:
        features: width C.
        magnitude: take the absolute value after the inverse transform, as the released code does; the paper does not.
        epsilon: constant that the released code adds to its image, real and imaginary parts.
    """

    def __init__(self, features: int, magnitude: bool = False, epsilon: float = 0.0) -> None:
        super().__init__()
        self.magnitude = magnitude
        self.epsilon = epsilon
        # The released code adds its constant once per part, and once to the complex number.
        self.offset = complex(2 * epsilon, epsilon)
        self.pre = Pointwise(features, features)
        self.amplitude = self._spectral_convolutions(features)
        self.phase = self._spectral_convolutions(features)
        self.post = Pointwise(features, features)

    @staticmethod
    def _spectral_convolutions(features: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(features, features, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in and out."""
        features = self._before_transform(x)
        layout, size = Layout.like(x), (x.shape[-2], x.shape[-1])
        amplitude, phase = self._spectrum(planes(features))
        del features  # the largest maps, gone as soon as possible
        amplitude = self._refined(self.amplitude, amplitude, layout)
        phase = self._refined(self.phase, phase, layout)
        image = layout.of(self._image(amplitude, phase, size, layout.dtype))
        del amplitude, phase
        return convolve(self.post, image, plus=x)

    def _before_transform(self, x: Tensor) -> Tensor:
        """``pre(x)``, in training not in half precision: its rounding would drown the spectrum's small coefficients.

        With it the loss of wide networks fell more slowly than in float32; an image of finished weights does not mind.
        """
        if not written_out(x, self.pre.weight):
            features: Tensor = self.pre(x)
            return features
        with without_autocast(x):
            return pointwise(full_precision(x), self.pre.weight, self.pre.bias)

    def transform(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Amplitude and phase of an image."""
        return amplitude_phase(image)

    def inverse(self, amplitude: Tensor, phase: Tensor, height: int, width: int) -> Tensor:
        """The image of an amplitude and a phase."""
        spectrum = from_amplitude_phase(amplitude, phase, self.offset)
        image: Tensor = torch.fft.irfft2(spectrum, s=(height, width), norm="backward")
        return image

    def _spectrum(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Amplitude and phase of feature maps whose pixels lie side by side."""

        def part(maps: Tensor) -> tuple[Tensor, Tensor]:
            image = full_precision(maps)
            return self.transform(image + self.epsilon if self.epsilon else image)

        groups = channel_groups(features)
        if len(groups) == 1:
            return part(features)
        amplitude = phase = torch.empty(0)
        for group in groups:
            done = part(features[:, group])
            if not amplitude.numel():
                shape = (features.shape[0], features.shape[1], *done[0].shape[2:])
                amplitude, phase = (like.new_empty(shape) for like in done)
            amplitude[:, group], phase[:, group] = done
        return amplitude, phase

    def _image(self, amplitude: Tensor, phase: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
        """Feature maps of an amplitude and a phase, in the precision of the convolution that reads them."""
        groups = channel_groups(amplitude)
        if len(groups) == 1:
            image = self.inverse(amplitude, phase, *size)
            return image.abs() if self.magnitude else image
        features = amplitude.new_empty((*amplitude.shape[:2], *size), dtype=dtype)
        for group in groups:
            image = self.inverse(amplitude[:, group], phase[:, group], *size)
            features[:, group] = image.abs_() if self.magnitude else image
        return features

    @staticmethod
    def _refined(convolutions: nn.Sequential, spectral: Tensor, layout: Layout) -> Tensor:
        """Amplitude or phase plus its convolutions, which have the precision and the memory layout of the features."""
        first, activation, second = convolutions
        slope = cast("nn.LeakyReLU", activation).negative_slope
        change = full_precision(planes(second(convolve(first, layout.of(spectral), "leaky_relu", slope))))
        return add(change, spectral)


class ChannelAttention(nn.Module):
    """Attention between the channels of two feature maps, 8 heads (Eq. 5 as it can be computed: linear in pixels).

    Queries come from one map, keys and values from the other. Queries and keys are normalised along the pixels, so each
    head's ``(C/8, C/8)`` matrix holds cosines, scaled by a learned temperature before the softmax.
    """

    heads = 8

    def __init__(self, features: int) -> None:
        super().__init__()
        if features % self.heads:
            raise UserError(f"features must be a multiple of {self.heads} for the attention's heads, not {features}")
        # Products of all channels with all, of which the heads are diagonal blocks, take more operations than a product
        # per head, but less time where a head is a few channels wide.
        self.merged = features < 8 * self.heads
        self.query = Pointwise(features, features, bias=False)
        self.query_depthwise = nn.Conv2d(features, features, 3, padding=1, groups=features, bias=False)
        self.key_value = Pointwise(features, 2 * features, bias=False)
        self.key_value_depthwise = nn.Conv2d(2 * features, 2 * features, 3, padding=1, groups=2 * features, bias=False)
        self.temperature = nn.Parameter(torch.ones(self.heads, 1, 1))
        self.project = Pointwise(features, features, bias=False)

    def forward(self, a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
        """``a`` asks, ``b`` answers, and ``plus`` is added: ``(B, C, H, W)`` each, to one."""
        # The wider maps first, while the others are not there yet.
        key_value = self.key_value_depthwise(self.key_value(b))
        query = self.query_depthwise(self.query(a))
        if written_out(query, key_value):
            return self._in_training(query, key_value, plus)
        key, value = (t.flatten(2) for t in key_value.chunk(2, dim=1))
        query = query.flatten(2)
        with without_autocast(a):
            weights = self._weights(self._sums(query, key), self.temperature)
            del query, key
            if not self.merged:
                mixed = weights @ full_precision(value).unflatten(1, (self.heads, -1))
        if not self.merged:
            out: Tensor = self.project(mixed.reshape(a.shape).to(value.dtype))
            return out if plus is None else add(out, plus)
        with without_autocast(a):
            matrix = self._matrix(weights, self.project.weight).to(value.dtype)
            if value.stride(1) == 1:
                mixed = product(value.mT, matrix.mT, None if plus is None else by_pixel(plus))
                return mixed.view(a.shape[0], *a.shape[2:], -1).permute(0, 3, 1, 2)
            mixed = product(matrix, value, None if plus is None else plus.flatten(2))
        image: Tensor = mixed.unflatten(2, a.shape[2:])
        return image

    def _in_training(self, query: Tensor, key_value: Tensor, plus: Tensor | None) -> Tensor:
        """The same from maps ``(B, C, H, W)`` and ``(B, 2C, H, W)``, with a short backward pass."""

        def mixing(products: Tensor, *others: Tensor) -> Tensor:
            *squares, temperature, projection = others
            return self._matrix(self._weights([self._heads(products), *squares], temperature), projection)

        layout = Layout.like(query)
        parameters = self.temperature, self.project.weight
        with without_autocast(query):
            added = None if plus is None else by_pixel(plus)
            mixed = attend(mixing, by_pixel(query), by_pixel(key_value), added, *parameters)
        return layout.of(mixed.unflatten(1, query.shape[2:]).permute(0, 3, 1, 2))

    def _heads(self, products: Tensor) -> Tensor:
        """Diagonal blocks of ``(B, C, C)``, the heads' own: ``(B, heads, C / heads, C / heads)``."""
        shape = self.heads, products.shape[1] // self.heads
        blocks: Tensor = products.unflatten(1, shape).unflatten(3, shape).diagonal(dim1=1, dim2=3)
        return blocks.permute(0, 3, 1, 2)

    @staticmethod
    def _matrix(weights: Tensor, projection: Tensor) -> Tensor:
        """Projection and attention both mix the channels of a pixel: their product ``(B, C, C)`` does it at once."""
        heads: Tensor = projection.flatten(1).to(weights.dtype).unflatten(1, weights.shape[1:3])
        return (heads.transpose(0, 1) @ weights).transpose(1, 2).flatten(2)

    @staticmethod
    def _weights(sums: list[Tensor], temperature: Tensor) -> Tensor:
        """Softmax of the scaled cosines, ``(B, heads, C / heads, C / heads)``, from the sums of :meth:`_sums`."""
        products, *squares = sums
        shape = products.shape[1:3]
        # Dividing the small matrix by the norms costs less than normalising two full-size maps.
        query_norms, key_norms = (t.clamp_min(1e-24).sqrt().unflatten(1, shape) for t in squares)
        cosines = products / (query_norms[..., :, None] * key_norms[..., None, :])
        weights: Tensor = (cosines * temperature).softmax(dim=-1)
        return weights

    def _sums(self, query: Tensor, key: Tensor) -> list[Tensor]:
        """Sums over pixels, in float32: products of channels within each head, squares of query and of key."""
        shape = self.heads, query.shape[1] // self.heads
        total: list[Tensor] = []
        # Undivided there must be no arithmetic on the size, which is a symbol in a graph.
        parts = (
            zip(query.split(8192, -1), key.split(8192, -1), strict=True) if worked_in_parts(query) else [(query, key)]
        )
        for q, k in parts:
            q, k = full_precision(q), full_precision(k)
            products = self._heads(q @ k.mT) if self.merged else q.unflatten(1, shape) @ k.unflatten(1, shape).mT
            ones = q.new_ones(q.shape[-1])  # a product adds up faster than a sum does
            sums = [products, q.square() @ ones, k.square() @ ones]
            total = [a + b for a, b in zip(total, sums, strict=True)] if total else sums
        return total


class SelectionScores(nn.Module):
    """Two feature maps weighted by scores of their concatenation (Eq. 3-4): two 3x3 convolutions, nothing between."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(2 * features, features, 3, padding=1)
        self.expand = nn.Conv2d(features, 2 * features, 3, padding=1)

    def forward(self, a: Tensor, b: Tensor, weighed: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Two ``(B, C, H, W)``, or two others in their place, weighted by their scores in (0, 1) and added: one."""
        both = join(a, b)
        squeezed = self.squeeze(both)
        if written_out(squeezed):
            return select(both if weighed is None else join(*weighed), self.expand(squeezed))
        del both  # as wide as the scores that come now
        scores = convolve(self.expand, squeezed, "sigmoid")
        del squeezed
        a, b = weighed or (a, b)
        score_a, score_b = scores.chunk(2, dim=1)
        return torch.addcmul(score_a * a, score_b, b)


class SelectiveFusion(nn.Module):
    """CMS-fusion (Eq. 3-4): two feature maps weighted by learned scores and added. FS-fusion ends with it too.

    Args:
        features: width C.
        weigh: what the scores multiply: the ``"incoming"`` features (the paper) or their 3x3 ``"convolved"`` ones (the
            released code).
    """

    def __init__(self, features: int, weigh: str = "incoming") -> None:
        super().__init__()
        self.weigh = weigh
        self.conv_a = nn.Conv2d(features, features, 3, padding=1)
        self.conv_b = nn.Conv2d(features, features, 3, padding=1)
        self.scores = SelectionScores(features)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two ``(B, C, H, W)`` to one: ``a`` auxiliary (or spatial), ``b`` target (or frequency) features."""
        u, v = self.conv_a(a), self.conv_b(b)
        fused: Tensor = self.scores(u, v, None if self.weigh == "convolved" else (a, b))
        return fused


class SumFusion(nn.Module):
    """Ablation: plain addition in place of CMS-fusion."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two ``(B, C, H, W)`` to one."""
        return a + b


def modality_fusion_block(kind: str, features: int, weigh: str) -> nn.Module:
    """CMS-fusion or its ablation, by option."""
    if kind not in ("selective", "sum"):
        raise UserError(f"modality_fusion is 'selective' or 'sum', not {kind!r}")
    return SelectiveFusion(features, weigh) if kind == "selective" else SumFusion()


def check_size(features: int, blocks: int, branch_fusion: str) -> None:
    """Refuse impossible sizes of either variant in one sentence."""
    if features < 8 or features % 8:
        raise UserError(f"features must be a positive multiple of 8, not {features}")
    if blocks < 1:
        raise UserError(f"blocks must be at least 1, not {blocks}")
    if branch_fusion not in ("attention", "sum"):
        raise UserError(f"branch_fusion is 'attention' or 'sum', not {branch_fusion!r}")
