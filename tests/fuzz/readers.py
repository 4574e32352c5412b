"""What reads files: small good files of each kind, and the function that is given damaged ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (2, 12, 10)


@dataclass(frozen=True)
class Reader:
    """Good files and how they are read.

    Attributes:
        samples: ``samples(folder)`` writes good files and yields them.
        read: reads one of them.
        quick: files of the normal suite.
    """

    samples: Callable[[Path], Iterator[Path]]
    read: Callable[[Path], Any]
    quick: int = 100


def values(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 2, SHAPE).astype(np.float32)


def kspace() -> np.ndarray:
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(values(), (-2, -1))), (-2, -1)).astype(np.complex64)


def array_samples(folder: Path) -> Iterator[Path]:
    np.save(folder / "a.npy", values())
    np.savez(folder / "b.npz", image=values(), affine=np.eye(4), description=np.array("words"))
    np.savez_compressed(folder / "c.npz", kspace=kspace(), mask=np.ones(10, bool), maps=np.ones((1, 12, 10), "c8"))
    np.save(folder / "d.npy", kspace())
    yield from (folder / name for name in ("a.npy", "b.npz", "c.npz", "d.npy"))


def read_array(path: Path) -> None:
    from fsmnet.data.formats import read_kspace, read_volume
    from fsmnet.data.formats.raw import read_maps

    each(path, read_volume, read_kspace, read_maps)


def each(path: Path, *functions: Callable[[Path], Any]) -> None:
    """All of them; refused is what all refuse."""
    from fsmnet.errors import UserError

    refused = []
    for function in functions:
        try:
            function(path)
        except UserError as error:
            refused.append(error)
    if len(refused) == len(functions):
        raise refused[0]


def mask_samples(folder: Path) -> Iterator[Path]:
    from fsmnet.physics.masks import make_mask, save_mask

    for name in ("m.npy", "m.npz"):
        save_mask(make_mask("random", 60, 4, 0.1, 0), folder / name)
        yield folder / name


def read_mask(path: Path) -> None:
    from fsmnet.physics.masks import load_mask

    load_mask(path).describe()


def nifti_samples(folder: Path) -> Iterator[Path]:
    import nibabel as nib

    image = nib.Nifti1Image((values() * 100).astype(np.int16), np.diag([1.0, 2, 3, 1]))
    image.set_sform(image.affine, 1)
    for name in ("v.nii", "v.nii.gz"):
        nib.save(image, folder / name)
        yield folder / name


def read_nifti(path: Path) -> None:
    from fsmnet.data.formats import is_ours, read_volume

    is_ours(path)
    read_volume(path)


def fastmri_samples(folder: Path) -> Iterator[Path]:
    import h5py

    from fastmri_tree import HEADER

    numbers = {"coils": 1, "rows": 12, "columns": 10, "fov_rows": 12, "fov_columns": 10, "recon": 8, "fov_recon": 8}
    numbers |= {"last_row": 11, "centre_row": 6, "last": 9, "centre": 5, "last_slice": 1}
    for name, options in (("f.h5", {}), ("g.h5", {"compression": "gzip", "chunks": (1, 12, 10)})):
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("kspace", data=kspace(), **options)
            file["reconstruction_esc"] = values()[:, 2:10, 1:9]
            file["ismrmrd_header"] = HEADER.format(**numbers)
            file["mask"] = np.ones(10, bool)
            file.attrs.update({"acquisition": "T2", "patient_id": "one", "max": 2.0, "norm": 3.0})
        yield folder / name


def read_fastmri(path: Path) -> None:
    from fsmnet.data.formats import fastmri, format_of, read_kspace, read_volume

    def slices(path: Path) -> None:
        file = fastmri.read_fastmri(path)
        file.kspace(0)
        file.target(file.slices - 1)

    format_of(path)
    each(path, slices, read_kspace, read_volume)


def ismrmrd_samples(folder: Path) -> Iterator[Path]:
    from ismrmrd_scan import Plan, write

    yield write(folder / "s.mrd", Plan(kspace()[:, None], noise=True, calibration_mode="embedded"))


def read_ismrmrd(path: Path) -> None:
    from fsmnet.data.formats import read_kspace

    read_kspace(path)


def checkpoint_samples(folder: Path) -> Iterator[Path]:
    from fsmnet.checkpoint import Header, save_checkpoint
    from fsmnet.models import create_model, recipe_of
    from fsmnet.models.released_weights import export_released

    model = create_model("mdunet", features=4)
    training = {"protocol": "float", "target": "t2", "auxiliary": "t1", "acceleration": 4.0}
    save_checkpoint(folder / "w.safetensors", model.state_dict(), Header(recipe_of(model), training))
    export_released(create_model("fsmnet_released", features=8), folder / "w.pth")
    yield from (folder / name for name in ("w.safetensors", "w.pth"))


def read_checkpoint(path: Path) -> None:
    from fsmnet.checkpoint import load_model

    load_model(path)


def config_samples(folder: Path) -> Iterator[Path]:
    path = folder / "c.yaml"
    path.write_text(
        "data: heads\nout: runs/a\ntarget: t2\nbatch: 4\nlearning_rate: 1e-3\nmask_seed: name\n"
        "mixed_accelerations: [4, 8]\nmodel_options: {features: 8}\nresume: false\n"
    )
    yield path


def read_config(path: Path) -> None:
    from fsmnet.cli.commands import COMMANDS
    from fsmnet.cli.parser import _values_of_file
    from fsmnet.options import build

    options = COMMANDS["train"].options
    build(options, {"data": "heads", "out": "runs"} | _values_of_file(str(path), options))


def record_samples(folder: Path) -> Iterator[Path]:
    path = folder / "result.json"
    record = {"Sources": [{"file": "a.nii", "sha256": "0"}], "Model": {"sha256": "0"}, "Options": {"batch": 4}}
    path.write_text(json.dumps(record | {"Mask": {"of": 10, "kind": "random"}, "Versions": {"torch": "2"}}, indent=1))
    yield path


def read_record(path: Path) -> None:
    from fsmnet.reconstruction import inputs, record
    from fsmnet.reconstruction.options import ReconstructConfig

    config = ReconstructConfig(
        target=path.with_name("a.nii"), auxiliary=path.with_name("b.nii"), out=path.with_name("result.nii.gz")
    )
    inputs.read_record(path)
    record.is_ours(config)
    record.doubt(config, "0")


def split_samples(folder: Path) -> Iterator[Path]:
    path = folder / "split.json"
    path.write_text(json.dumps({"train": ["a", "b"], "validation": [], "test": ["c"], "patients": {"a": "p"}}))
    yield path


def read_split(path: Path) -> None:
    from fsmnet.data.split import load_split

    load_split(path)


def table_samples(folder: Path) -> Iterator[Path]:
    path = folder / "pairs.csv"
    path.write_text(
        "case,target,auxiliary,target_series,auxiliary_series,status,reason,patient\n"
        'a,"x, y.nii",b.nii,,,accepted,,p\nb,c.nii,d.nii,2,,rejected,far apart,q\nc,e.nii,f.nii,,,,,q\n'
    )
    yield path


def read_table(path: Path) -> None:
    from fsmnet.data.pairing.tables import read_table
    from fsmnet.data.patients import read_patients

    each(path, read_table, read_patients)


def exams_samples(folder: Path) -> Iterator[Path]:
    path = folder / "exams.csv"
    path.write_text("case,status,seconds,reason\na,done,1.50,\nb,failed,0.20,no such file\n")
    yield path


def read_exams(path: Path) -> None:
    from fsmnet.reconstruction.exam_table import read_rows

    read_rows(path)


def log_samples(folder: Path) -> Iterator[Path]:
    path = folder / "log.csv"
    path.write_text(
        "step,epoch,seconds,learning_rate,loss,gradient_norm,validation_psnr\n"
        "1,0,0.5,0.001,0.5,0.1,\n2,0,1.1,0.001,0.4,0.1,30.1\n"
    )
    yield path


def read_log(path: Path) -> None:
    from fsmnet.training.log import rows_until

    rows_until(path, 2)


def state_samples(folder: Path) -> Iterator[Path]:
    """A state with its seal, and one of before there were any."""
    import torch

    from fsmnet.training.state import SEALED, sealed

    path, (model, optimizer) = folder / "resume.pt", _trained()
    state = {
        "config": json.dumps({"data": "heads", "out": "x", "batch": 4}),
        "split": json.dumps({"train": ["a"], "validation": [], "test": [], "patients": {}}),
        "data": json.dumps({"a": "0" * 32}),
        "progress": {"step": 3, "seconds": 1.5, "best_psnr": 30.0, "best_step": 2},
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": None,
        "rng": torch.get_rng_state()[:64],
        "cuda_rng": [],
    }
    path.write_bytes(b"".join(sealed(state)))
    yield path
    path.write_bytes(path.read_bytes()[:-SEALED])
    yield path


def _trained() -> Any:
    import torch

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    return model, optimizer


def read_state(path: Path) -> None:
    """Read and put back; what is read of a damaged file must be what was written."""
    from types import SimpleNamespace

    import torch

    from fsmnet.training import state
    from fsmnet.training.options import TrainConfig

    torch.set_rng_state = lambda _: None
    config = TrainConfig(data=Path("heads"), out=path.parent, resume=True)
    read = state.read_state(config)
    model, optimizer = _trained()
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.nn.init.zeros_(model.weight)
    state.restore(SimpleNamespace(config=config, model=model, optimizer=optimizer, average=None), read)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert (read.progress.step, read.split.train, read.fingerprints) == (3, ["a"], {"a": "0" * 32})


def index_samples(folder: Path) -> Iterator[Path]:
    from fsmnet.data.pairing.fastmri_tree import read_tree

    (folder / "knees").mkdir(exist_ok=True)
    for _ in fastmri_samples(folder / "knees"):
        pass
    read_tree(folder / "knees", folder / "index.json")
    yield folder / "index.json"


def read_index(path: Path) -> None:
    from fsmnet.data.pairing.fastmri_tree import _file, _load

    for name, entry in _load(path).items():
        file = _file(Path(name), entry)
        assert (file.slices, file.columns, file.image_size, file.multicoil) is not None


def list_samples(folder: Path) -> Iterator[Path]:
    (folder / "list.csv").write_text("f,g\n")
    yield folder / "list.csv"
    (folder / "longer.csv").write_text('"f.h5","g.h5"\nx,y\n')
    yield folder / "longer.csv"


def read_list(path: Path) -> None:
    from fsmnet.data.formats.fastmri import read_fastmri
    from fsmnet.data.pairing.fastmri_lists import read_pairs

    if not _VOLUMES:
        (path.parent / "knees").mkdir(exist_ok=True)
        _VOLUMES.extend(read_fastmri(file) for file in fastmri_samples(path.parent / "knees"))
    read_pairs(path, _VOLUMES)


_VOLUMES: list[Any] = []


def kept_samples(folder: Path) -> Iterator[Path]:
    """What a comparison keeps of its methods."""
    texts = {
        "compare.yaml": "methods: {U-Net: {model: mdunet}}\niterations: 5\ndata: heads\nout: x\nreference: U-Net\n",
        "done.json": json.dumps({"steps": 5, "minutes": 0.1, "options": {"model": "mdunet"}}),
        "summary.json": json.dumps([{"contents": {"a": "0" * 32}, "seen_in_training": {"train": ["a"]}}]),
        "metrics.csv": "model,case,patient,psnr,ssim,head_psnr,head_ssim\nu,a,p,30.1,0.9,25,0.8\nu,b,p,31,0.9,,\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        yield folder / name


def read_kept(path: Path) -> None:
    from fsmnet.evaluation import kept
    from fsmnet.evaluation.compare import FIGURES, _means
    from fsmnet.evaluation.options import CompareConfig
    from fsmnet.options import changed_options

    if path.name == "compare.yaml":
        config = CompareConfig(data=Path("heads"), out=Path("x"), methods={"U-Net": {"model": "mdunet"}}, iterations=5)
        changed_options(kept.read_definition(path), config)
    elif path.name == "done.json":
        kept.read_done(path.parent)
    elif path.name == "summary.json":
        seen = kept.read_summary(path.parent)["seen_in_training"]
        assert all(isinstance(case, str) for cases in seen.values() for case in cases)
    else:
        rows = kept.read_scores(path.parent, FIGURES)
        for figure in FIGURES:
            _means(rows, figure)


def sidecar_samples(folder: Path) -> Iterator[Path]:
    path = folder / "scan.json"
    said = {"PhaseEncodingDirection": "j-", "AcquisitionMatrixPE": 205, "PercentPhaseFOV": 87.5, "EchoTime": 0.09}
    path.write_text(json.dumps(said | {"RepetitionTime": 4, "SeriesDescription": "t2_tse", "ScanningSequence": "SE"}))
    yield path


def read_sidecar(path: Path) -> None:
    from fsmnet.data.contrast import told_contrast
    from fsmnet.data.formats.nifti_header import _by_sidecar, acquired_lines

    scan = path.with_suffix(".nii.gz")
    scan.touch()
    assert isinstance(_by_sidecar(scan), str)
    assert isinstance(acquired_lines(scan), int | None)
    assert isinstance(told_contrast(scan).name, str)


def dicom_samples(folder: Path) -> Iterator[Path]:
    from dicom_study import Plan, write

    [path] = write(folder / "series", Plan(shape=(1, 12, 10)))
    yield path.rename(folder / "bad.dcm")
    from pydicom import uid

    [path] = write(folder / "series", Plan(shape=(1, 12, 10), syntax=uid.ImplicitVRLittleEndian, slope=None))
    yield path.rename(folder / "bad.dcm")


def read_dicom(path: Path) -> None:
    from fsmnet.data.formats.dicom import list_series, read_series

    for series in list_series(path.parent):
        read_series(series)


READERS = {
    "arrays": Reader(array_samples, read_array),
    "masks": Reader(mask_samples, read_mask),
    "nifti": Reader(nifti_samples, read_nifti),
    "fastmri": Reader(fastmri_samples, read_fastmri),
    "ismrmrd": Reader(ismrmrd_samples, read_ismrmrd, quick=10),
    "checkpoints": Reader(checkpoint_samples, read_checkpoint),
    "configurations": Reader(config_samples, read_config),
    "records": Reader(record_samples, read_record),
    "splits": Reader(split_samples, read_split),
    "pairs": Reader(table_samples, read_table),
    "exams": Reader(exams_samples, read_exams),
    "logs": Reader(log_samples, read_log),
    "states": Reader(state_samples, read_state),
    "indexes": Reader(index_samples, read_index),
    "lists": Reader(list_samples, read_list),
    "comparisons": Reader(kept_samples, read_kept),
    "sidecars": Reader(sidecar_samples, read_sidecar),
    "dicom": Reader(dicom_samples, read_dicom),
}
