"""Reconstruct a zero-filled NIfTI volume with an exported network, without PyTorch and without fsmnet.

    fsmnet export --out fsmnet.onnx
    python run_onnx.py fsmnet.onnx zero_filled.nii.gz auxiliary.nii.gz reconstructed.nii.gz

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


def main(model: str, target: str, auxiliary: str, out: str) -> None:
    """Slice by slice along the last axis of the files; empty slices stay empty."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    scans = [nib.load(path) for path in (target, auxiliary)]
    volumes = [np.clip(np.nan_to_num(scan.get_fdata(dtype=np.float32)), 0, None) for scan in scans]
    scales = [float(volume.max()) or 1.0 for volume in volumes]
    result = np.zeros_like(volumes[0])
    for index in range(result.shape[2]):
        x, y = (volume[:, :, index] / scale for volume, scale in zip(volumes, scales, strict=True))
        if x.any():
            result[:, :, index] = reconstruct(session, x, y) * scales[0]
    nib.save(nib.Nifti1Image(result, scans[0].affine), out)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
