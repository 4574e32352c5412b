"""Size of a result in the source's whole numbers and as float32, and what the rounding costs.

    python benchmarks/voxels.py T2.nii.gz T1.nii.gz [--slices 8] [--out benchmarks/voxels.json]

The middle slices are cut out of both files and reconstructed once by the shipped network, at 4x; the same image is then
stored both ways. Scores are against the fully sampled slices.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from speed import SOURCE, commit

import fsmnet
from fsmnet.data.formats.nifti import write_nifti


def cut(path: Path, slices: int, folder: Path) -> Path:
    """The middle slices of a file, in a file of the same type."""
    image = nib.load(path)
    first = (image.shape[2] - slices) // 2
    nib.save(image.slicer[:, :, first : first + slices], folder / path.name)
    return folder / path.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("auxiliary", type=Path)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        target, auxiliary = (cut(path, args.slices, folder) for path in (args.target, args.auxiliary))
        whole, floats = folder / "whole.nii.gz", folder / "float32.nii.gz"
        options = {"acceleration": 4, "check": "off", "picture": False, "device": "cpu"}
        result = fsmnet.reconstruct(target, auxiliary, whole, **options)
        source = fsmnet.read_volume(target)
        write_nifti(result.image, source, floats, "made by benchmarks/voxels.py")
        stored = {name: np.moveaxis(nib.load(path).get_fdata(), 2, 0) for name, path in (("w", whole), ("f", floats))}
        report = {
            "command": f"python benchmarks/voxels.py {args.target.name} {args.auxiliary.name} --slices {args.slices}",
            "commit": commit(SOURCE),
            "date": time.strftime("%Y-%m-%d"),
            "source": {"type": str(nib.load(target).get_data_dtype()), "bytes": target.stat().st_size},
            "result": {"voxels": result.sidecar["Voxels"], "bytes": whole.stat().st_size},
            "float32": {"bytes": floats.stat().st_size},
            "psnr": {
                "whole numbers": round(fsmnet.psnr(source.data, stored["w"].astype(np.float32)), 3),
                "float32": round(fsmnet.psnr(source.data, stored["f"].astype(np.float32)), 3),
            },
            "largest_difference": float(np.abs(stored["w"] - stored["f"]).max()),
        }
    print(json.dumps(report, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
