"""Trees of HDF5 files as NYU ships them, from images of one's choice; and a knee to fill them with.

Nothing here uses the package: transforms, headers and masks are NumPy's and text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
from scipy import ndimage

HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <studyInformation><studyTime>00:00:00</studyTime></studyInformation>
  <measurementInformation><protocolName>AX</protocolName></measurementInformation>
  <acquisitionSystemInformation>
    <systemVendor>SIEMENS</systemVendor><systemModel>Biograph_mMR</systemModel>
    <systemFieldStrength_T>2.893620</systemFieldStrength_T><receiverChannels>{coils}</receiverChannels>
  </acquisitionSystemInformation>
  <experimentalConditions><H1resonanceFrequency_Hz>123200000</H1resonanceFrequency_Hz></experimentalConditions>
  <encoding>
    <encodedSpace>
      <matrixSize><x>{rows}</x><y>{columns}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{fov_rows}</x><y>{fov_columns}</y><z>4.5</z></fieldOfView_mm>
    </encodedSpace>
    <reconSpace>
      <matrixSize><x>{recon}</x><y>{recon}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{fov_recon}</x><y>{fov_recon}</y><z>3.0</z></fieldOfView_mm>
    </reconSpace>
    <encodingLimits>
      <kspace_encoding_step_0><minimum>0</minimum><maximum>{last_row}</maximum><center>{centre_row}</center>
      </kspace_encoding_step_0>
      <kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center>
      </kspace_encoding_step_1>
      <slice><minimum>0</minimum><maximum>{last_slice}</maximum><center>0</center></slice>
    </encodingLimits>
    <trajectory>cartesian</trajectory>
  </encoding>
</ismrmrdHeader>
"""
PIXEL = 0.5  # mm
BRIGHTNESS = 3e-4  # of the brightest pixel, as in the knee data


def fft2c(image: np.ndarray) -> np.ndarray:
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes), norm="ortho"), axes)


def ifft2c(kspace: np.ndarray) -> np.ndarray:
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes), norm="ortho"), axes)


def centred(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Cropped about the middle of the last two axes."""
    top, left = (image.shape[-2] - rows) // 2, (image.shape[-1] - columns) // 2
    return image[..., top : top + rows, left : left + columns]


def write_volume(
    path: Path,
    images: np.ndarray,
    *,
    acquisition: str = "CORPD_FBK",
    rows: int = 640,
    columns: int = 368,
    recon: int = 320,
    skipped: int = 0,
    coils: int = 0,
    noise: float = 0.01,
    seed: int = 0,
    mask: np.ndarray | None = None,
) -> Path:
    """A volume from magnitudes ``(S, h, w)``, which are centred in the encoded matrix and given a smooth phase.

    Args:
        path: file to write.
        images: at least 0, no larger than ``rows`` and ``columns``; scaled to :data:`BRIGHTNESS`.
        acquisition: contrast.
        rows: readout samples.
        columns: phase-encode lines.
        recon: rows and columns of the reference.
        skipped: lines on either side that were not acquired and are zero.
        coils: 0 for emulated single coil, or how many.
        noise: standard deviation in k-space (real and imaginary part each) over the brightest pixel.
        seed: of phase and noise.
        mask: bool ``(columns,)``: write a test file, under-sampled and without reference.
    """
    rng = np.random.default_rng(seed)
    slices, height, width = images.shape
    object_ = np.zeros((slices, rows, columns))
    top, left = (rows - height) // 2, (columns - width) // 2
    object_[:, top : top + height, left : left + width] = images / images.max() * BRIGHTNESS
    y, x = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)[None]
    a, b, c, d = rng.uniform(-1.5, 1.5, 4)
    image = object_ * np.exp(1j * (a * y + b * x + c * x * y + d * (x**2 - y**2)))
    if coils:
        angles = 2 * np.pi * np.arange(coils) / coils
        near = [np.exp(-((y - np.sin(t)) ** 2 + (x - np.cos(t)) ** 2) / 2 + 1j * t) for t in angles]
        image = image[:, None] * np.stack(near)
    kspace = fft2c(image)
    kspace += noise * BRIGHTNESS * (rng.standard_normal(kspace.shape) + 1j * rng.standard_normal(kspace.shape))
    if skipped:
        kspace[..., :skipped] = kspace[..., columns - skipped :] = 0
    kspace = kspace.astype(np.complex64)
    magnitude = np.abs(ifft2c(kspace))
    if coils:
        magnitude = np.sqrt((magnitude**2).sum(1))
    reference = centred(magnitude, min(recon, rows), min(recon, columns)).astype(np.float32)
    header = HEADER.format(
        coils=coils or 1, rows=rows, columns=columns, recon=recon, fov_rows=rows * PIXEL, fov_columns=columns * PIXEL,
        fov_recon=recon * PIXEL, last_row=rows - 1, centre_row=rows // 2, last=columns - 2 * skipped - 1,
        centre=columns // 2 - skipped, last_slice=slices - 1,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("ismrmrd_header", data=header.encode())
        file.create_dataset("kspace", data=kspace if mask is None else kspace * mask)
        file.attrs["acquisition"] = acquisition
        file.attrs["patient_id"] = f"{seed:064x}"
        if mask is None:
            file.create_dataset("reconstruction_rss" if coils else "reconstruction_esc", data=reference)
            file.attrs["max"] = reference.max()
            file.attrs["norm"] = np.linalg.norm(reference)
        else:
            file.create_dataset("mask", data=mask)
    return path


# Signal of background, muscle, fat and marrow, fluid, bone's cortex and ligaments, cartilage.
SIGNALS = {
    "CORPD_FBK": np.array([0.0, 0.45, 0.95, 0.85, 0.08, 0.75]),
    "CORPDFS_FBK": np.array([0.0, 0.40, 0.12, 1.0, 0.06, 0.85]),
}


@lru_cache(maxsize=64)
def anatomy(seed: int, size: int, slices: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices into :data:`SIGNALS` and a texture around 1, each ``(slices, size, size)``, of a coronal leg.

    All subjects share the plan, none the anatomy. The slices cover 80 mm however many they are.
    """
    rng = np.random.default_rng((seed, 2024))
    axes = [np.linspace(-1, 1, n) for n in (slices, size, size)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    places = np.stack([(a + 1.5) / 3 * 31 for a in (z, y, x)])

    def smooth(detail: float) -> np.ndarray:
        grid = ndimage.gaussian_filter(rng.standard_normal((32, 32, 32)), detail, mode="wrap")
        return ndimage.map_coordinates(grid / grid.std(), places, order=1, mode="grid-wrap")

    scale = rng.uniform(0.9, 1.1, 3)
    v, u, w = (a * s + 0.05 * smooth(4) for a, s in zip((y, x, z), scale, strict=True))
    gap, width = rng.uniform(0.04, 0.09), rng.uniform(0.5, 0.62)
    leg = u**2 + 0.1 * v**2 + 0.5 * w**2 < 0.85**2
    skin = u**2 + 0.1 * v**2 + 0.5 * w**2 > rng.uniform(0.68, 0.78) ** 2
    bone_width = width * (0.6 + 0.4 * np.exp(-((np.abs(v) - 0.15) ** 2) / 0.08)) * np.sqrt(np.clip(1 - w**2, 0, 1))
    bone = (np.abs(u) < bone_width) & (np.abs(v) > gap)
    core = (np.abs(u) < bone_width - 0.05) & (np.abs(v) > gap + 0.05)
    label = np.zeros(x.shape, dtype=int)
    label[leg] = 1
    label[leg & (skin | (smooth(1.5) > 1.3))] = 2
    label[leg & bone] = 4
    label[leg & core] = 2
    label[leg & (np.abs(u) < bone_width) & (np.abs(v) <= gap)] = 5
    label[leg & ~core & (np.abs(v) < 0.5) & (smooth(2) > 1.5)] = 3
    return label, 1 + 0.08 * smooth(1)


def knee(seed: int, acquisition: str, size: int = 96, slices: int = 16) -> np.ndarray:
    """Coronal slices of a subject's knee, float ``(slices, size, size)``; fat is bright or dark by the acquisition."""
    label, texture = anatomy(seed, size, slices)
    return np.clip(ndimage.gaussian_filter(SIGNALS[acquisition][label] * texture, (0, 0.6, 0.6)), 0, None)


def write_knees(
    root: Path, subjects: Sequence[int], *, size: int = 96, slices: int = 6, folder: str = "singlecoil_train", **options
) -> list[tuple[str, str]]:
    """PD and fat-suppressed volumes of subjects; (PD, FS) file names, which do not tell who belongs to whom."""
    pairs = []
    for subject in subjects:
        names = [f"file{1_000_000 + 7919 * (2 * subject + k) % 999_983:07d}.h5" for k in (0, 1)]
        for k, (acquisition, name) in enumerate(zip(SIGNALS, names, strict=True)):
            images = knee(subject, acquisition, size, slices)
            write_volume(root / folder / name, images, acquisition=acquisition, seed=2 * subject + k, **options)
        pairs.append((names[0], names[1]))
    return pairs
