"""What a moved patient costs, and what registration brings back.

    python benchmarks/registration.py --data DIR --case TCGA-FG-6692 --out benchmarks/registration.json

The T1 of a pair in place is rotated by 5 degrees and shifted by 8 mm around the centre of the T2's head (linear
interpolation onto its own grid), registered back, and the T2 is reconstructed at 4x by the shipped network on every
tenth slice with content, protocol float, with each auxiliary. "returned" is the moved T1 brought back by the true
movement: the loss of two interpolations, which no registration can avoid.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from fsmnet.checkpoint import load_model, shipped_checkpoint, trained_recipe, versions
from fsmnet.data.grid import resample_to
from fsmnet.data.pairing.names import find_pairs, load_pair
from fsmnet.data.register import head, register_rigid, similarity
from fsmnet.data.volume import Volume
from fsmnet.files import write_text
from fsmnet.inference.slices import reconstruct_slices
from fsmnet.protocols.float import FLOAT

DEGREES, MILLIMETRES = 5.0, 8.0
AXIS, DIRECTION = (1.0, 2.0, 3.0), (2.0, -1.0, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--case", required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    [pair] = find_pairs(arguments.data, "t2", "t1", [arguments.case])
    target, auxiliary = load_pair(pair.target, pair.auxiliary)
    points = head_points(target)
    motion = movement(points.mean(axis=1))
    moved = resample_to(replace(auxiliary, affine=motion @ auxiliary.affine), target)
    start, start_cpu = time.perf_counter(), time.process_time()
    registration = register_rigid(moved, target)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    returned = resample_to(replace(moved, affine=np.linalg.inv(motion) @ moved.affine), target)
    in_place = register_rigid(auxiliary, target)
    auxiliaries = {
        "aligned": auxiliary,
        "misaligned": moved,
        "registered": registration.volume,
        "returned": returned,
    }
    result = {
        "case": pair.case,
        "movement": {"degrees": DEGREES, "mm": MILLIMETRES},
        "registration": {
            "mean_error_mm": mean_distance(registration.transform @ motion, points),
            "error_before_mm": mean_distance(motion, points),
            "largest_error_mm": float(distances(registration.transform @ motion, points).max()),
            "found_degrees": registration.rotation,
            "found_mm": registration.shift,
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu_seconds, 1),
            "similarity_before": registration.similarity_before,
            "similarity_after": registration.similarity_after,
            "similarity_aligned": similarity(target, auxiliary),
            "mean_displacement_of_the_aligned_mm": mean_distance(in_place.transform, points),
        },
        "reconstruction": scores(target, auxiliaries),
        "versions": versions() | {"SimpleITK": version("SimpleITK")},
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    write_text(arguments.out, text)


def movement(centre: np.ndarray) -> np.ndarray:
    """Rotation around ``centre`` (``(4,)``, mm, RAS) and shift, as ``(4, 4)`` matrix."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(np.radians(DEGREES) * unit(AXIS)).as_matrix()
    motion[:3, 3] = centre[:3] - motion[:3, :3] @ centre[:3] + MILLIMETRES * unit(DIRECTION)
    return motion


def unit(vector: tuple[float, ...]) -> np.ndarray:
    return np.array(vector) / np.linalg.norm(vector)


def head_points(volume: Volume) -> np.ndarray:
    """Voxels of the head in mm, RAS, ``(4, n)``."""
    k, i, j = np.nonzero(head(volume))
    return volume.affine @ np.stack([i, j, k, np.ones(len(i))])


def distances(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How far each point is moved, in mm."""
    return np.linalg.norm((matrix @ points - points)[:3], axis=0)


def mean_distance(matrix: np.ndarray, points: np.ndarray) -> float:
    return float(distances(matrix, points).mean())


def scores(target: Volume, auxiliaries: dict[str, Volume]) -> dict[str, object]:
    """PSNR in dB and SSIM of the shipped network with each auxiliary, and of zero-filling."""
    checkpoint = shipped_checkpoint("shipped-image")
    assert checkpoint is not None
    model = load_model(checkpoint)
    recipe = trained_recipe(model)
    assert recipe is not None
    mask = recipe.draw(target.data.shape[-1], target.source.name)
    rows: dict[str, object] = {}
    for name, auxiliary in auxiliaries.items():
        slices = FLOAT.prepare(target, auxiliary)
        full, helper = slices.target[::10], slices.auxiliary[::10]
        zero_filled = FLOAT.zero_fill(full, torch.from_numpy(mask.columns))
        image = reconstruct_slices(model, zero_filled, helper, FLOAT.normalisation)
        rows |= {"zero_filling": FLOAT.score(full, zero_filled)[0]._asdict()} if not rows else {}
        rows[name] = FLOAT.score(full, image)[0]._asdict()
    return {"protocol": "float", "mask": mask.describe(), "slices": slices.numbers[::10], **rows}


if __name__ == "__main__":
    main()
