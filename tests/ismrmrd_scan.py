"""ISMRMRD files as a scanner's converter writes them, by the ismrmrd package."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions>
  {encodings}
</ismrmrdHeader>"""
ENCODING = """<encoding>
  <encodedSpace><matrixSize><x>{rows}</x><y>{columns}</y><z>{depth}</z></matrixSize>
    <fieldOfView_mm><x>{fov[0]}</x><y>{fov[1]}</y><z>{thickness}</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>{recon[0]}</x><y>{recon[1]}</y><z>1</z></matrixSize>
    <fieldOfView_mm><x>{recon_fov[0]}</x><y>{recon_fov[1]}</y><z>{thickness}</z></fieldOfView_mm></reconSpace>
  <encodingLimits>{limits}</encodingLimits>
  <trajectory>{trajectory}</trajectory>{parallel}
</encoding>"""
PARALLEL = """<parallelImaging><accelerationFactor><kspace_encoding_step_1>4</kspace_encoding_step_1>
  <kspace_encoding_step_2>1</kspace_encoding_step_2></accelerationFactor><calibrationMode>{}</calibrationMode>
  </parallelImaging>"""
LIMITS = """<kspace_encoding_step_1><minimum>{0}</minimum><maximum>{1}</maximum><center>{2}</center>
  </kspace_encoding_step_1>"""


@dataclass
class Plan:
    """A scan to write.

    Attributes:
        kspace: ``(S, C, H, W)``; columns that are zero everywhere are not written.
        recon_fov: mm of the reconstruction along readout and phase encoding; pixels of the encoded matrix are 1 mm.
        limits: minimum, maximum and centre of the phase-encoding steps; None leaves them out.
        trajectory: of the header.
        depth: of the encoded matrix.
        encodings: how often the encoding stands in the header.
        positions: mm (LPS) of each slice's centre.
        directions: readout, phase and slice direction (LPS), rows.
        head: header fields of all readouts.
        counters: counter -> function (number of the readout) -> value, e.g. repetitions.
        flags: number of the readout -> flag.
        noise: whether a noise measurement comes first.
        calibration_mode: of the header; None leaves parallel imaging out.
        presamples: samples of nonsense before the matrix, which the readouts' headers discard.
    """

    kspace: np.ndarray
    recon_fov: tuple[float, float] | None = None
    limits: tuple[int, int, int] | None = None
    trajectory: str = "cartesian"
    depth: int = 1
    encodings: int = 1
    positions: list[tuple[float, float, float]] | None = None
    directions: tuple[Any, Any, Any] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    head: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, Any] = field(default_factory=dict)
    flags: dict[int, int] = field(default_factory=dict)
    noise: bool = False
    calibration_mode: str | None = None
    presamples: int = 0


def write(path: Path, plan: Plan, seed: int = 0) -> Path:
    """Write the readouts in random order."""
    import ismrmrd

    slices, coils, rows, columns = plan.kspace.shape
    limits = "" if plan.limits is None else LIMITS.format(*plan.limits)
    encoding = ENCODING.format(
        rows=rows,
        columns=columns,
        depth=plan.depth,
        fov=(rows, columns),
        thickness=5,
        recon=tuple(map(round, plan.recon_fov or (rows, columns))),
        recon_fov=plan.recon_fov or (rows, columns),
        limits=limits,
        trajectory=plan.trajectory,
        parallel="" if plan.calibration_mode is None else PARALLEL.format(plan.calibration_mode),
    )
    centre = columns // 2 if plan.limits is None else plan.limits[2]
    lines = [(s, w) for s in range(slices) for w in range(columns) if plan.kspace[s, :, :, w].any()]
    np.random.default_rng(seed).shuffle(lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with ismrmrd.Dataset(str(path)) as file:
        file.write_xml_header(HEADER.format(encodings=encoding * plan.encodings).encode())
        if plan.noise:
            noise = ismrmrd.Acquisition.from_array(np.ones((coils, 7), np.complex64))
            noise.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
            file.append_acquisition(noise)
        for number, (s, w) in enumerate(lines):
            samples = np.pad(plan.kspace[s, :, :, w], ((0, 0), (plan.presamples, 0)), constant_values=1e3)
            one = ismrmrd.Acquisition.from_array(np.ascontiguousarray(samples, dtype=np.complex64))
            one.idx.slice, one.idx.kspace_encode_step_1 = s, w - columns // 2 + centre
            one.center_sample, one.discard_pre = rows // 2 + plan.presamples, plan.presamples
            one.position[:] = (plan.positions or [(0, 0, 5 * k) for k in range(slices)])[s]
            one.read_dir[:], one.phase_dir[:], one.slice_dir[:] = plan.directions
            for name, value in plan.head.items():
                setattr(one, name, value)
            for name, value in plan.counters.items():
                setattr(one.idx, name, value(number))
            if number in plan.flags:
                one.set_flag(plan.flags[number])
            file.append_acquisition(one)
    return path
