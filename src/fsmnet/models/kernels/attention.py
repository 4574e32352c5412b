"""Fast twin of the attention between channels: sums over pixels instead of normalised copies, one matrix a pixel."""

from __future__ import annotations

from torch import Tensor

from fsmnet.models.blocks import ChannelAttention
from fsmnet.models.kernels.backward import attend, product, written_out
from fsmnet.models.kernels.layout import Layout, by_pixel, worked_in_parts
from fsmnet.models.kernels.onednn import add
from fsmnet.models.precision import full_precision, without_autocast


class ChannelAttentionKernel(ChannelAttention):
    """The attention, and what is added to it.

    Attributes:
        merged: attention and projection as one matrix of all channels with all, of which the heads are diagonal blocks:
            more operations than a product per head, but less time where a head is a few channels wide. None: there.
    """

    merged: bool | None = None

    @property
    def by_one_matrix(self) -> bool:
        """Whether attention and projection are one matrix."""
        return self.query.in_channels < 8 * self.heads if self.merged is None else self.merged

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
            if not self.by_one_matrix:
                mixed = weights @ full_precision(value).unflatten(1, (self.heads, -1))
        if not self.by_one_matrix:
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
            products = self._heads(q @ k.mT) if self.by_one_matrix else q.unflatten(1, shape) @ k.unflatten(1, shape).mT
            ones = q.new_ones(q.shape[-1])  # a product adds up faster than a sum does
            sums = [products, q.square() @ ones, k.square() @ ones]
            total = [a + b for a, b in zip(total, sums, strict=True)] if total else sums
        return total
