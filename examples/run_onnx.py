"""Reconstruct a NIfTI volume with an exported network, without PyTorch and without fsmnet.

A network for images takes a zero-filled volume:

    fsmnet export --out fsmnet.onnx
    python run_onnx.py fsmnet.onnx zero_filled.nii.gz auxiliary.nii.gz reconstructed.nii.gz

A network for k-space measures a fully sampled volume by a mask, along the second axis of the file, and reconstructs it:

    fsmnet export --checkpoint shipped --out unrolled.onnx
    fsmnet mask --acceleration 4 --columns 240 --out mask.npz
    python run_onnx.py unrolled.onnx T2.nii.gz T1.nii.gz reconstructed.nii.gz mask.npz

Needs numpy, nibabel and onnxruntime. Research use only, not for clinical use.
"""

from __future__ import annotations

import sys

import nibabel as nib
import numpy as np
import onnxruntime


def normalise(image: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Mean 0 and deviation 1, limited to +-6, with the mean and deviation that were there."""
    mean, std = float(image.mean()), float(image.std()) + 1e-11
    return np.clip((image - mean) / std, -6, 6).astype(np.float32), mean, std


def pad(image: np.ndarray, multiple: int) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Repeat the border until both sides are multiples, and where the image then is."""
    missing = [-size % multiple for size in image.shape]
    before = [m // 2 for m in missing]
    padded = np.pad(image, [(b, m - b) for b, m in zip(before, missing, strict=True)], mode="edge")
    rows, columns = (slice(b, b + size) for b, size in zip(before, image.shape, strict=True))
    return padded, (rows, columns)


def reconstruct(session: onnxruntime.InferenceSession, target: np.ndarray, auxiliary: np.ndarray) -> np.ndarray:
    """One slice ``(H, W)`` of each contrast to the reconstructed one."""
    multiple = int(session.get_modelmeta().custom_metadata_map["multiple"])
    x, mean, std = normalise(target)
    y, _, _ = normalise(auxiliary)
    (x, inside), (y, _) = pad(x, multiple), pad(y, multiple)
    [image] = session.run(["image"], {"target": x[None, None], "auxiliary": y[None, None]})
    return np.maximum(image[0, 0][inside] * std + mean, 0)


def measured(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Lines ``(1, 2, H, W)`` of an image ``(H, W)``: centred orthonormal transform along W, real and imaginary part."""
    lines = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(image, -1), norm="ortho"), -1) * mask
    return np.stack([lines.real, lines.imag])[None].astype(np.float32)


def reconstruct_lines(
    session: onnxruntime.InferenceSession, target: np.ndarray, auxiliary: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """One fully sampled slice ``(H, W)`` of the target, measured by the mask ``(W,)``, to the reconstructed one.

    The file takes sides that are multiples of 8. Rows are added freely, each is a problem of its own. Columns are not:
    with other columns the lines would be others.
    """
    multiple = int(session.get_modelmeta().custom_metadata_map["multiple"])
    if target.shape[1] % multiple:
        sys.exit(f"the second axis has {target.shape[1]} voxels; this network takes multiples of {multiple}")
    rows = -len(target) % multiple
    x, y = (np.pad(image, [(0, rows), (0, 0)]) for image in (target, auxiliary))
    given = {
        "lines": measured(x, mask),
        "mask": mask[None].astype(np.float32),
        "auxiliary": y[None, None].astype(np.float32),
        "noise": np.full(1, -1, np.float32),  # unknown
    }
    [image] = session.run(["image"], given)
    return np.hypot(image[0, 0], image[0, 1])[: len(target)]


def main(model: str, target: str, auxiliary: str, out: str, mask: str = "") -> None:
    """Slice by slice along the last axis of the files; empty slices stay empty."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    of_lines = session.get_inputs()[0].name == "lines"
    if of_lines != bool(mask):
        sys.exit("a network for k-space needs a mask, one for images takes none")
    scans = [nib.load(path) for path in (target, auxiliary)]
    volumes = [np.clip(np.nan_to_num(scan.get_fdata(dtype=np.float32)), 0, None) for scan in scans]
    scales = [float(volume.max()) or 1.0 for volume in volumes]
    columns = np.load(mask)["mask"].reshape(-1) if mask else np.ones(0)
    if of_lines and len(columns) != volumes[0].shape[1]:
        sys.exit(f"{mask}: {len(columns)} lines for {volumes[0].shape[1]} voxels along the second axis")
    result = np.zeros_like(volumes[0])
    for index in range(result.shape[2]):
        x, y = (volume[:, :, index] / scale for volume, scale in zip(volumes, scales, strict=True))
        if x.any():
            image = reconstruct_lines(session, x, y, columns) if of_lines else reconstruct(session, x, y)
            result[:, :, index] = image * scales[0]
    nib.save(nib.Nifti1Image(result, scans[0].affine), out)


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    main(*sys.argv[1:])
