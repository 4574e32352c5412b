"""Several receive coils: sensitivity maps from the centre of k-space, the SENSE operator and its inverse problem.

Coil k-space is ``(..., C, H, W)``, complex64, centred and orthonormal as in :mod:`fsmnet.physics.fourier`. An image is
``(..., H, W)``, a mask ``(W,)`` or ``(..., 1, W)`` with the leading axes of the image (``(..., H, W)`` for points
instead of lines). With the sensitivities S_c, the transform F and the mask M, the measurement of coil c is
``y_c = M F S_c x``, in short ``y = A x`` (SENSE: Pruessmann et al., Magn Reson Med 42:952, 1999).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fsmnet.errors import UserError
from fsmnet.physics.fourier import TINY, broadcast_mask, check_weight, fft2c, full_complex, ifft2c

PIXELS = 8192  # pixels handled at once when eigenvectors are computed


def root_sum_of_squares(images: Tensor) -> Tensor:
    """``sqrt(sum_c |x_c|^2)`` of coil images ``(..., C, H, W)``; real, ``(..., H, W)``."""
    magnitude: Tensor = torch.linalg.vector_norm(_coil_data(images, "coil images"), dim=-3)
    return magnitude


def combine(images: Tensor, maps: Tensor) -> Tensor:
    """``sum_c conj(S_c) x_c``, the least-squares image for maps of unit energy; complex ``(..., H, W)``.

    Args:
        images: coil images, ``(..., C, H, W)``.
        maps: sensitivities S, ``(..., C, H, W)``.
    """
    images = _coil_data(images, "coil images")
    _check_maps(images.shape, maps)
    return (maps.conj() * images).sum(-3)


def forward(image: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
    """The SENSE operator ``A x``: what the coils measure of an image; complex ``(..., C, H, W)``.

    Args:
        image: x, real or complex, ``(..., H, W)``.
        maps: sensitivities S, ``(..., C, H, W)``.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.

    Raises:
        UserError: shapes that do not fit.
    """
    image = full_complex(image)
    _check_maps((*image.shape[:-2], maps.shape[-3] if maps.dim() > 2 else 0, *image.shape[-2:]), maps)
    return fft2c(maps * image[..., None, :, :]) * _coil_mask(mask, image.shape)


def adjoint(kspace: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
    """``A^H y = sum_c conj(S_c) F^-1 M y_c``: the zero-filled, map-combined image; complex ``(..., H, W)``.

    Args:
        kspace: y, ``(..., C, H, W)``; what lies outside the mask is ignored.
        maps: sensitivities S, ``(..., C, H, W)``.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.

    Raises:
        UserError: shapes that do not fit.
    """
    kspace = _coil_data(kspace, "k-space")
    return combine(ifft2c(kspace * _coil_mask(mask, _image_shape(kspace))), maps)


def residual(image: Tensor, kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
    """How far an image is from the measurement, ``||A x - M y|| / ||M y||`` over all coils; real, ``(...)``.

    Args:
        image: x, ``(..., H, W)``.
        kspace: y, ``(..., C, H, W)``.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.
        maps: sensitivities S, ``(..., C, H, W)``.

    Raises:
        UserError: shapes that do not fit.
    """
    measured = _coil_data(kspace, "k-space") * _coil_mask(mask, _image_shape(kspace))
    difference = torch.linalg.vector_norm(forward(image, maps, mask) - measured, dim=(-3, -2, -1))
    relative: Tensor = difference / torch.linalg.vector_norm(measured, dim=(-3, -2, -1)).clamp_min(TINY)
    return relative


def cg_sense(
    kspace: Tensor,
    mask: Tensor,
    maps: Tensor,
    iterations: int = 20,
    regularisation: float = 0.0,
    start: Tensor | None = None,
) -> Tensor:
    """Image from under-sampled coils by conjugate gradients (Pruessmann et al., Magn Reson Med 46:638, 2001).

    Solves ``(A^H A + lambda I) x = A^H y + lambda x0``, the minimiser of ``||A x - y||^2 + lambda ||x - x0||^2``. The
    iteration begins at x0; without regularisation x0 is no more than that beginning. A pixel where all maps are zero
    keeps its value of x0.

    Args:
        kspace: y, ``(..., C, H, W)``; what lies outside the mask is ignored.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.
        maps: sensitivities S of unit energy, ``(..., C, H, W)``.
        iterations: conjugate-gradient steps, at least 0.
        regularisation: lambda, at least 0.
        start: x0, ``(..., H, W)``; zero when None.

    Returns:
        The image, complex ``(..., H, W)``.

    Raises:
        UserError: shapes that do not fit, a negative number.
    """
    if iterations < 0:
        raise UserError(f"conjugate gradients cannot take {iterations} steps; give 0 or more")
    if not (math.isfinite(regularisation) and regularisation >= 0):
        raise UserError(f"regularisation {regularisation:g} is not a finite number of at least 0")

    def normal(x: Tensor) -> Tensor:
        return adjoint(forward(x, maps, mask), maps, mask) + regularisation * x

    right = adjoint(kspace, maps, mask)
    if start is None:
        image = torch.zeros_like(right)
    else:
        image = full_complex(start).to(right.dtype)
        if image.shape != right.shape:
            raise UserError(f"the start has shape {tuple(image.shape)}, the k-space asks for {tuple(right.shape)}")
        right = right + regularisation * image
    rest = right - normal(image)
    direction, energy = rest, _energy(rest)
    # What is left at rounding level may lie where A is blind; a step along it would be long and lead nowhere.
    rounding = (10 * torch.finfo(right.dtype).eps) ** 2 * _energy(right)
    for _ in range(iterations):
        moved = normal(direction)
        curvature = (direction.conj() * moved).real.sum((-2, -1), keepdim=True)
        step = (energy > rounding) * energy / curvature.clamp_min(TINY)
        image = image + step * direction
        rest = rest - step * moved
        previous, energy = energy, _energy(rest)
        direction = rest + energy / previous.clamp_min(TINY) * direction
    return image


def multi_coil_data_consistency(
    image: Tensor, kspace: Tensor, mask: Tensor, maps: Tensor, weight: float | None = None, iterations: int = 10
) -> Tensor:
    """Draw an image towards the measurement of all coils.

    A few conjugate-gradient steps from the image x0 towards the minimiser of ``||x - x0||^2 + w ||A x - y||^2``
    (Aggarwal et al., IEEE TMI 38:394, 2019, with ``w = 1/lambda``). With one coil of sensitivity 1 that is
    :func:`fsmnet.physics.fourier.data_consistency`.

    Args:
        image: x0, complex, ``(..., H, W)``; give a magnitude the phase of :func:`adjoint` first.
        kspace: y, ``(..., C, H, W)``.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.
        maps: sensitivities S, ``(..., C, H, W)``.
        weight: w, above 0; None for infinite, the least-squares solution that is nearest to x0.
        iterations: conjugate-gradient steps.

    Returns:
        The image, complex ``(..., H, W)``.

    Raises:
        UserError: shapes that do not fit, a weight below 0.
    """
    check_weight(weight)
    if weight == 0:
        return full_complex(image)
    return cg_sense(kspace, mask, maps, iterations, 0.0 if weight is None else 1 / weight, image)


def replace_measured(image: Tensor, kspace: Tensor, mask: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Hard data consistency in coil space: the measured lines of every coil replace those of ``F S_c x``.

    The coil images then agree with the measurement to rounding. The combined image does so only as far as the maps
    explain the coils: one image cannot hold C k-spaces.

    Args:
        image: x, complex, ``(..., H, W)``.
        kspace: y, ``(..., C, H, W)``.
        mask: bool, ``(W,)`` or ``(..., 1, W)``.
        maps: sensitivities S, ``(..., C, H, W)``.

    Returns:
        The coil images recombined, complex ``(..., H, W)``, and the coil images, complex ``(..., C, H, W)``.

    Raises:
        UserError: shapes that do not fit.
    """
    kspace = _coil_data(kspace, "k-space")
    everywhere = torch.ones(image.shape[-1:], dtype=torch.bool, device=image.device)
    predicted = forward(image, maps, everywhere)
    if predicted.shape != kspace.shape:
        raise UserError(f"the image gives k-space {tuple(predicted.shape)}, the measured one is {tuple(kspace.shape)}")
    images = ifft2c(torch.where(_coil_mask(mask, _image_shape(kspace)), kspace.to(predicted.dtype), predicted))
    return combine(images, maps), images


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
    kspace = _coil_data(kspace, "k-space")
    smallest = 4 if kernel is None else kernel
    if smallest < 1 or calibration < smallest:
        raise UserError(f"a calibration block of {calibration} cannot hold patches of {smallest}; give other numbers")
    for name, share in (("threshold", threshold), ("crop", crop)):
        if not 0 <= share < 1:
            raise UserError(f"{name} {share:g} is not in [0, 1)")
    if not torch.isfinite(torch.view_as_real(kspace)).all():
        raise UserError("the k-space holds values that are not finite; sensitivities cannot be estimated from it")
    shape = _image_shape(kspace)
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


def _energy(image: Tensor) -> Tensor:
    return image.abs().square().sum((-2, -1), keepdim=True)


def _coil_data(data: Tensor, what: str) -> Tensor:
    if data.dim() < 3:
        raise UserError(f"{what} of several coils has axes (..., coils, H, W), not the shape {tuple(data.shape)}")
    if not data.is_complex():
        raise UserError(f"{what} must be complex, not {data.dtype}; the phase is part of the measurement")
    return full_complex(data)


def _image_shape(kspace: Tensor) -> torch.Size:
    return torch.Size((*kspace.shape[:-3], *kspace.shape[-2:]))


def _check_maps(shape: tuple[int, ...], maps: Tensor) -> None:
    """Maps for data of ``shape`` may lack leading axes, never the last three."""
    if maps.dim() < 3 or maps.dim() > len(shape) or maps.shape[-3:] != torch.Size(shape[-3:]):
        raise UserError(f"maps of shape {tuple(maps.shape)} do not fit data of shape {tuple(shape)} (..., coils, H, W)")


def _coil_mask(mask: Tensor, image_shape: torch.Size) -> Tensor:
    """The mask as bool with an axis for the coils where it has leading axes."""
    mask = broadcast_mask(mask, image_shape)
    return mask if mask.dim() < 3 else mask.unsqueeze(-3)
