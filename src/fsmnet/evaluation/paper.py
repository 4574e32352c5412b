"""The tables of the paper (Chen et al. 2024) as data: their rows, and the figures printed there."""

from __future__ import annotations

from typing import Any

# Rows by name with the training options that make them. POCS is not the paper's; it needs no training.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "table1": {
        "Zero-filling": {"model": "zero_filling"},
        "POCS": {"model": "pocs"},
        "MDUNet": {"model": "mdunet"},
        "MINet": {"model": "minet"},
        "MCCA": {"model": "mcca"},
        "SwinIR": {"model": "swinir"},
        "MTrans": {"model": "mtrans"},
        "DCAMSR": {"model": "dcamsr"},
        "FSMNet": {"model": "fsmnet"},
    },
    "table2": {
        "POCS": {"model": "pocs"},
        "U-Net": {"model": "mdunet"},
        "FSFE": {"model": "fsmnet", "model_options": {"modality_fusion": "sum", "branch_fusion": "sum"}},
        "FSFE + CMS": {"model": "fsmnet", "model_options": {"branch_fusion": "sum"}},
        "FSMNet": {"model": "fsmnet"},
    },
}

# Tables 1 and 2: PSNR / SSIM at 4x and 8x. Other patients, full training.
PAPER_BRATS: dict[str, dict[float, str]] = {
    "Zero-filling": {4: "30.04 +- 1.51 / 0.748 +- 0.034", 8: "26.58 +- 1.49 / 0.673 +- 0.036"},
    "MDUNet": {4: "37.94 +- 1.66 / 0.975 +- 0.006", 8: "35.19 +- 1.64 / 0.960 +- 0.009"},
    "MINet": {4: "38.26 +- 1.74 / 0.976 +- 0.006", 8: "35.23 +- 1.72 / 0.961 +- 0.009"},
    "MCCA": {4: "38.03 +- 1.68 / 0.975 +- 0.006", 8: "35.37 +- 1.66 / 0.962 +- 0.009"},
    "SwinIR": {4: "37.87 +- 1.73 / 0.974 +- 0.006", 8: "34.95 +- 1.72 / 0.960 +- 0.009"},
    "MTrans": {4: "36.02 +- 1.67 / 0.962 +- 0.007", 8: "34.81 +- 1.57 / 0.957 +- 0.009"},
    "DCAMSR": {4: "38.60 +- 1.75 / 0.978 +- 0.006", 8: "35.99 +- 1.74 / 0.965 +- 0.009"},
    "FSMNet": {4: "41.76 +- 1.88 / 0.986 +- 0.004", 8: "38.60 +- 1.85 / 0.977 +- 0.006"},
    "U-Net": {4: "37.94 +- 1.66 / 0.975 +- 0.006", 8: "35.19 +- 1.64 / 0.960 +- 0.009"},
    "FSFE": {4: "41.05 +- 1.80 / 0.985 +- 0.004", 8: "37.97 +- 1.78 / 0.974 +- 0.007"},
    "FSFE + CMS": {4: "41.39 +- 1.83 / 0.986 +- 0.004", 8: "38.27 +- 1.78 / 0.975 +- 0.007"},
}
PAPER_KNEE: dict[str, dict[float, str]] = {
    "Zero-filling": {4: "24.5 +- 1.37 / 0.442 +- 0.10", 8: "22.9 +- 1.25 / 0.369 +- 0.12"},
    "MDUNet": {4: "28.6 +- 1.00 / 0.600 +- 0.05", 8: "27.9 +- 0.86 / 0.544 +- 0.05"},
    "MINet": {4: "29.4 +- 1.88 / 0.639 +- 0.06", 8: "28.1 +- 1.74 / 0.563 +- 0.08"},
    "MCCA": {4: "29.4 +- 1.87 / 0.637 +- 0.06", 8: "28.2 +- 1.75 / 0.562 +- 0.08"},
    "SwinIR": {4: "29.4 +- 1.87 / 0.636 +- 0.06", 8: "28.1 +- 1.74 / 0.560 +- 0.08"},
    "MTrans": {4: "29.0 +- 1.79 / 0.619 +- 0.06", 8: "27.3 +- 1.68 / 0.526 +- 0.08"},
    "DCAMSR": {4: "29.4 +- 1.87 / 0.637 +- 0.06", 8: "28.4 +- 1.79 / 0.569 +- 0.08"},
    "FSMNet": {4: "29.7 +- 1.93 / 0.646 +- 0.07", 8: "28.5 +- 1.80 / 0.572 +- 0.08"},
}
PAPER = {"brats": PAPER_BRATS, "fastmri": PAPER_KNEE}
