"""Pack the training volumes for a machine without them: cropped to the head, 8 bits, one compressed file.

    python benchmarks/unrolled/pack.py DATA train.npz.xz

DATA holds ``<group>/<case>/<case>_{t1,t2,flair,t1ce}.nii.gz``. 255 is each volume's 99.99th percentile. Test patients
are left out by name; nothing of them gets into the file.
"""

from __future__ import annotations

import argparse
import io
import lzma
from pathlib import Path

import nibabel as nib
import numpy as np

TEST = ("TCGA-FG-6692", "OMSL-04")
CONTRASTS = ("t1", "t2", "flair", "t1ce")
GROUPS = ("volumes", "native")


def pack(folder: Path) -> dict[str, np.ndarray]:
    """``<case>.<contrast>`` uint8 ``(S, H, W)`` and ``<case>.zoom``, the pixel's sides in millimetres."""
    volumes, zoom = {}, None
    for contrast in CONTRASTS:
        path = folder / f"{folder.name}_{contrast}.nii.gz"
        if path.exists():
            image = nib.load(path)
            zoom = image.header.get_zooms()[:2]
            volumes[contrast] = np.moveaxis(np.maximum(np.asarray(image.dataobj, dtype=np.float32), 0), 2, 0)
    head = np.any([v > 0.03 * np.percentile(v, 99.9) for v in volumes.values()], axis=0)
    box = []
    for axis in range(3):
        filled = np.flatnonzero(head.mean(axis=tuple(a for a in range(3) if a != axis)) > 0.003)
        box.append(slice(max(filled.min() - 2, 0), filled.max() + 3))
    packed = {f"{folder.name}.zoom": np.array(zoom, np.float32)}
    for contrast, volume in volumes.items():
        top = np.percentile(volume[volume > 0], 99.99)
        packed[f"{folder.name}.{contrast}"] = np.clip(np.rint(volume[tuple(box)] * (255 / top)), 0, 255).astype(
            np.uint8
        )
    return packed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    packed: dict[str, np.ndarray] = {}
    for group in GROUPS:
        for folder in sorted((args.data / group).iterdir()):
            if not folder.name.startswith(TEST):
                packed |= pack(folder)
                print(folder.name, flush=True)
    buffer = io.BytesIO()
    np.savez(buffer, **packed)
    args.out.write_bytes(lzma.compress(buffer.getvalue(), preset=2))


if __name__ == "__main__":
    main()
