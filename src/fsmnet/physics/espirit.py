"""Coil sensitivities from the centre of k-space by ESPIRiT (Uecker et al., Magn Reson Med 71:990, 2014)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fsmnet.errors import UserError
from fsmnet.physics.coils import coil_data
from fsmnet.physics.fourier import broadcast_mask

PIXELS = 8192  # pixels handled at once when eigenvectors are computed


def estimate_maps(
    kspace: Tensor,
    mask: Tensor | None = None,
    *,
    calibration: int = 24,
    kernel: int | None = None,
    threshold: float = 0.02,
    crop: float = 0.95,
) -> Tensor:
    """Coil sensitivities from the centre of k-space by ESPIRiT (Uecker et al., Magn Reson Med 71:990, 2014).

    Every ``kernel x kernel`` patch of all coils lies in a small subspace, found from the fully sampled centre
    (:func:`patch_subspace`). Projecting all patches of k-space on it is, in the image, one C x C matrix for each pixel,
    and the sensitivities are its eigenvector of eigenvalue 1 (:func:`eigen_maps`). Where there is no signal no
    eigenvalue comes near 1; there the maps are zero. Elsewhere they have unit energy, ``sum_c |S_c|^2 = 1``, and the
    phase that makes the principal component of the coils real, so that the image keeps that component's phase.

    Args:
        kspace: ``(..., C, H, W)``, complex.
        mask: bool, ``(W,)``, ``(..., 1, W)`` or ``(..., H, W)``; when None, what is not zero counts as measured.
        calibration: largest side of the centre block that is used.
        kernel: side of the patches. When None 6, or half the shorter side of the centre block if that is less: larger
            patches of a narrow centre are too few to span their subspace, and the maps end before the head does.
        threshold: singular values below this share of the largest count as noise.
        crop: pixels whose eigenvalue is below have no maps.

    Returns:
        The first set of maps, complex ``(..., C, H, W)``.

    Raises:
        UserError: no complex k-space, a centre that is too small or empty, an impossible option.
    """
    kspace = coil_data(kspace, "k-space")
    smallest = 4 if kernel is None else kernel
    if smallest < 1 or calibration < smallest:
        raise UserError(f"a calibration block of {calibration} cannot hold patches of {smallest}; give other numbers")
    for name, share in (("threshold", threshold), ("crop", crop)):
        if not 0 <= share < 1:
            raise UserError(f"{name} {share:g} is not in [0, 1)")
    if not torch.isfinite(torch.view_as_real(kspace)).all():
        raise UserError("the k-space holds values that are not finite; sensitivities cannot be estimated from it")
    shape = torch.Size((*kspace.shape[:-3], *kspace.shape[-2:]))
    sampled = (kspace != 0).any(-3) if mask is None else broadcast_mask(mask, shape).expand(shape)
    slices = kspace.reshape(-1, *kspace.shape[-3:])
    maps = []
    for data, known in zip(slices, sampled.reshape(-1, *shape[-2:]), strict=True):
        rows, columns = _centre_block(known, calibration, smallest)
        block = data[:, rows, columns]
        if not block.any():
            raise UserError("the centre of the k-space is empty; sensitivities cannot be estimated from it")
        side = min(6, min(block.shape[1:]) // 2) if kernel is None else kernel
        vectors, values = eigen_maps(patch_subspace(block, side, threshold), shape[-2:])
        # The virtual coil with most signal: its phase is smooth and defined wherever there is any.
        principal = torch.linalg.svd(block.flatten(1), full_matrices=False).U[:, 0]
        reference = (principal.conj()[:, None, None] * vectors).sum(0)
        maps.append(vectors * torch.polar(torch.ones_like(values), -reference.angle()) * (values > crop))
    return torch.stack(maps).reshape(kspace.shape)


def patch_subspace(block: Tensor, kernel: int, threshold: float) -> Tensor:
    """Orthonormal basis of the patches of a calibration block: the kernels of ESPIRiT.

    The rows of the calibration matrix are all patches of the block. Its right singular vectors with singular values
    above ``threshold`` times the largest span the patches; the others are noise.

    Args:
        block: fully sampled centre of k-space, ``(C, h, w)``.
        kernel: side k of the patches.
        threshold: share of the largest singular value.

    Returns:
        K kernels, ``(K, C, k, k)``.
    """
    coils = block.shape[0]
    patches = block.unfold(1, kernel, 1).unfold(2, kernel, 1)  # (C, h - k + 1, w - k + 1, k, k)
    matrix = patches.permute(1, 2, 0, 3, 4).reshape(-1, coils * kernel**2)
    _, values, basis = torch.linalg.svd(matrix, full_matrices=False)
    kept: Tensor = basis[values > threshold * values[0]]
    return kept.reshape(-1, coils, kernel, kernel)


def eigen_maps(kernels: Tensor, size: tuple[int, int] | torch.Size) -> tuple[Tensor, Tensor]:
    """First eigenvector and eigenvalue, pixel by pixel, of the projection on the kernels' subspace.

    Replacing every patch of k-space by its projection on the kernels w, then averaging the k^2 patches that share a
    sample, convolves k-space. The convolution at pixel r is the matrix ``G(r)_cd = 1/k^2 sum_n g_nc(r) conj(g_nd(r))``
    with ``g_nc(r) = sum_j w_nc(j) exp(2 pi i j r / N)``. Expanded, it is a Fourier sum over the lags ``j - j'`` of the
    kernels' correlations, which spares transforming each kernel to full size.

    Args:
        kernels: orthonormal, ``(K, C, k, k)``.
        size: H and W of the maps.

    Returns:
        Vectors of unit norm, complex ``(C, H, W)``, with arbitrary phase, and values in [0, 1], real ``(H, W)``.
    """
    count, coils, side, _ = kernels.shape
    flat = kernels.reshape(count, -1)
    projection = (flat.T @ flat.conj()).reshape(coils, side, side, coils, side, side)
    lags = kernels.new_zeros(coils, coils, 2 * side - 1, 2 * side - 1)
    for i in range(side):
        for j in range(side):
            lags[..., i : i + side, j : j + side] += projection[:, i, j].flip(-2, -1)
    lag = torch.arange(1 - side, side, device=kernels.device)

    def waves(length: int) -> Tensor:
        position = torch.arange(length, device=kernels.device) - length // 2
        return torch.exp(2j * math.pi / length * torch.outer(position, lag)).to(kernels.dtype)

    height, width = size
    rows, columns = waves(height), waves(width)
    across = torch.einsum("cdij,xj->xcdi", lags / side**2, columns)
    vectors, values = [], []
    for part in rows.split(max(1, PIXELS // width)):  # all pixels at once would need C times the memory of the k-space
        matrices = torch.einsum("yi,xcdi->yxcd", part, across)
        value, vector = torch.linalg.eigh(matrices)
        vectors.append(vector[..., -1])
        values.append(value[..., -1])
    return torch.cat(vectors).permute(2, 0, 1), torch.cat(values)


def _centre_block(sampled: Tensor, largest: int, smallest: int) -> tuple[slice, slice]:
    """Rows and columns of the fully sampled centre of a mask ``(H, W)``, no side longer than ``largest``."""
    height, width = sampled.shape
    rows = _centre_run(sampled[:, width // 2].tolist(), largest)
    columns = _centre_run(sampled[height // 2].tolist(), largest)
    block = sampled[rows, columns]
    if min(block.shape) < smallest or not block.all():
        raise UserError(
            f"the fully sampled centre of the k-space, {block.shape[0]} rows by {block.shape[1]} columns, is too small "
            f"or has gaps; at least {smallest} by {smallest} are needed, so give maps from another scan"
        )
    return rows, columns


def _centre_run(line: list[bool], largest: int) -> slice:
    """The unbroken run of True around the middle, cut to ``largest`` about the middle."""
    middle = len(line) // 2
    first = middle
    while first > 0 and line[first - 1]:
        first -= 1
    last = middle
    while last < len(line) and line[last]:
        last += 1
    return slice(max(first, middle - largest // 2), min(last, middle - largest // 2 + largest))
