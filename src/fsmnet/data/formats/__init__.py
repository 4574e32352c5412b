"""Files by their endings: one table says who reads images, who reads k-space, who writes.

Further formats come by :func:`register_format` or, from an installed package, by an entry point of the group
``fsmnet.formats`` that names a :class:`Format`. DICOM is a folder and has a package of its own,
:mod:`fsmnet.data.formats.dicom`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy.typing as npt

from fsmnet.data.find import absence, file_at
from fsmnet.data.formats.content import HDF5, NIFTI, NUMPY, foreign, kind_of
from fsmnet.data.formats.raw import KSpace, check_values, turned
from fsmnet.data.volume import Array, Samples, Volume
from fsmnet.errors import UserError, warn_of_each
from fsmnet.registry import Registry, imported

logger = logging.getLogger(__name__)

Place = str  # "package.module:function", imported when it is needed


@dataclass(frozen=True)
class Format:
    """A kind of file: what it is called, and the functions that deal with it, each as such or as ``"module:name"``.

    Attributes:
        name: what it is called.
        endings: of the files' names, with the dot. Several formats may share one, see ``recognise``.
        read: ``read(path) -> Volume``; None where the format holds no images.
        read_kspace: ``read_kspace(path) -> KSpace``; None where it holds no k-space.
        write: ``write(data (S, H, W), like: Volume, path, description) -> None``; None where nothing is written.
        written: endings that the writer takes; all when empty.
        results: names of further formats in which a result may be stored whose source is of this one. NIfTI and the
            source's own, if it can be written, always may.
        complex_values: whether the writer takes complex slices.
        recognise: ``recognise(path) -> bool``, whether a file is of this format; for endings that several share.
        is_ours: ``is_ours(path) -> bool``, whether a file was written by this package, which may then replace it.
    """

    name: str
    endings: tuple[str, ...]
    read: Callable[[Path], Volume] | Place | None = None
    read_kspace: Callable[[Path], KSpace] | Place | None = None
    write: Callable[[npt.NDArray[Any], Volume, Path, str], None] | Place | None = None
    written: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    complex_values: bool = True
    recognise: Callable[[Path], bool] | Place | None = None
    is_ours: Callable[[Path], bool] | Place | None = None

    def fits(self, path: Path) -> bool:
        """Whether a name has one of the endings."""
        return path.name.endswith(self.endings)

    def writes(self, path: Path) -> bool:
        """Whether a file of this name can be written."""
        return self.write is not None and path.name.endswith(self.written or self.endings)

    def function(self, what: str) -> Callable[..., Any] | None:
        """One of the functions, imported; None where the format has none."""
        found: Callable[..., Any] | Place | None = getattr(self, what)
        if isinstance(found, str):
            found = cast("Callable[..., Any]", imported(found, f"file format {self.name!r}"))
        return found


FORMATS: Registry[Format] = Registry(
    "file format",
    "fsmnet.formats",
    {
        "nifti": Format(
            "nifti",
            (".nii.gz", ".nii"),
            read="fsmnet.data.formats.nifti:read_nifti",
            write="fsmnet.data.formats.nifti:write_nifti",
            is_ours="fsmnet.data.formats.nifti:is_ours",
        ),
        "numpy": Format(
            "numpy",
            (".npy", ".npz"),
            read="fsmnet.data.formats.arrays:read_array",
            read_kspace="fsmnet.data.formats.raw:read_arrays",
            write="fsmnet.data.formats.arrays:write_array",
        ),
        "fastmri": Format(
            "fastmri",
            (".h5", ".hdf5", ".mrd"),
            read="fsmnet.data.formats.hdf5:read_hdf5",
            read_kspace="fsmnet.data.formats.hdf5:read_kspace",
            write="fsmnet.data.formats.fastmri:write_result",
            written=(".h5", ".hdf5"),
            results=("numpy",),
            complex_values=False,
        ),
        "ismrmrd": Format(
            "ismrmrd",
            (".h5", ".hdf5", ".mrd"),
            read_kspace="fsmnet.data.formats.ismrmrd:read_ismrmrd",
            results=("numpy", "fastmri"),
            recognise="fsmnet.data.formats.ismrmrd:is_ismrmrd",
        ),
    },
)


def register_format(form: Format) -> None:
    """Add a file format, under its name.

    Raises:
        UserError: the name is taken, or no ending begins with a dot.
    """
    if not form.endings or not all(ending.startswith(".") for ending in form.endings):
        raise UserError(f"file format {form.name!r}: its endings are {form.endings}; write them with the dot")
    FORMATS.register(form.name, form)


def format_of(path: str | Path, what: str = "") -> Format | None:
    """The format that a name tells; where several do, the one that recognises the file.

    Args:
        path: the file; looked into only where the ending does not decide.
        what: only formats with this function, ``read``, ``read_kspace`` or ``write``.

    Returns:
        None for a name that is nobody's.
    """
    path = Path(path)
    # The last to come is asked first: what was registered from outside, then ISMRMRD before fastMRI.
    known = [FORMATS.get(name) for name in reversed(list(FORMATS))]
    fitting = [form for form in known if form.fits(path) and (not what or getattr(form, what) is not None)]
    for form in fitting:
        recognise = form.function("recognise")
        if recognise is None or (path.is_file() and recognise(path)):
            return form
    return None


_CONTENT = {"nifti": NIFTI, "numpy": NUMPY, "fastmri": HDF5, "ismrmrd": HDF5}  # of the formats of this package


def reading_format(path: Path, what: str = "read") -> Format | None:
    """The format to read a file with: that of its name, or of its content where the two contradict each other.

    Args:
        path: a file that is there.
        what: ``read`` or ``read_kspace``.

    Raises:
        UserError: the content is of a kind that no file is read of.
    """
    named = format_of(path, what)
    if named is not None and named.name not in _CONTENT:
        return named  # from outside
    kind = kind_of(path)
    if kind == "" and (told := foreign(path))[0]:
        raise UserError(f"{path}: holds {told[0]}; {told[1]}")
    if kind == "" or (named is not None and _CONTENT[named.name] == kind):
        return named
    for name in reversed(_CONTENT):
        form = FORMATS.get(name)
        recognise = form.function("recognise")
        if _CONTENT[name] == kind and getattr(form, what) and (recognise is None or recognise(path)):
            if form.name != "nifti":  # whose reader says it itself
                warn_of_each(logger, "%s: holds %s data, which its name does not say; read by its content", path, kind)
            return form
    raise UserError(f"{path}: holds a {kind} image and no k-space; give an image with --target")


def volume_stem(path: Path) -> str:
    """File name without the ending of its format, such as ``.nii.gz``, ``.npz`` or ``.h5``."""
    endings = (ending for name in FORMATS for ending in FORMATS.get(name).endings)
    fitting = [ending for ending in endings if path.name.endswith(ending)]
    return path.name.removesuffix(max(fitting, key=len, default=""))


def read_volume(path: str | Path) -> Volume:
    """Read a 3-D file, by its name or against it by its content; NaN, infinite and negative voxels become 0, counted.

    NIfTI (``.nii``, ``.nii.gz``; slope and intercept are applied), NumPy (``.npy``, ``.npz``, see
    :mod:`fsmnet.data.formats.arrays`), fastMRI's HDF5 (``.h5``, see :mod:`fsmnet.data.formats.hdf5`), or a format that
    was registered. A file with any other ending is taken for NIfTI.

    Returns:
        The volume: ``data`` float32 ``(S, H, W)``, ``affine`` ``(4, 4)`` from file indices to mm.

    Raises:
        UserError: missing, of another kind, damaged, not 3-D, not real-valued, or without any contrast to reconstruct.
    """
    path = file_at(Path(path), FORMATS.get("nifti").endings)
    if why := absence(path):
        raise UserError(f"{path}: {why}")
    read = (reading_format(path) or FORMATS.get("nifti")).function("read")
    assert read is not None
    volume: Volume = read(path)
    return volume


def write_volume(data: Array | Samples, like: Volume, path: str | Path, description: str = "") -> None:
    """Write slices in the format of the name, with the place in space of another volume, in one step.

    Args:
        data: ``(S, H, W)`` of the size of ``like``, in any units; stored as float32, complex ones as complex64.
        like: the volume whose place in space the result takes.
        path: ``.nii``, ``.nii.gz``, ``.npy``, ``.npz``, fastMRI's ``.h5``, or a registered ending.
        description: how it was made. NIfTI keeps 79 characters of it; ``.npy`` cannot hold it.

    Raises:
        UserError: a shape or a name that cannot be written.
    """
    path = Path(path)
    if data.shape != like.data.shape:
        raise UserError(f"{path}: slices of shape {data.shape} do not fit {like.name} of {like.data.shape}")
    form = format_of(path, "write")
    # NIfTI's own writer says what is wrong with any other name.
    write = (form if form is not None and form.writes(path) else FORMATS.get("nifti")).function("write")
    assert write is not None
    write(data, like, path, description)


def read_kspace(path: str | Path, rows: bool = False) -> KSpace:
    """Read k-space, by the ending of the file's name.

    ``.npy`` and ``.npz`` (entry ``kspace`` or the only array; ``mask`` and ``maps`` if there) hold ``(H, W)``,
    ``(S, H, W)`` or ``(S, C, H, W)``: three axes are slices, so coils always need four. ``.h5`` and ``.mrd`` are told
    apart by their content: fastMRI's dataset ``kspace``, or ISMRMRD's group with ``xml`` and ``data``.

    Args:
        path: the file.
        rows: the rows H are phase-encoded, not the columns; both axes then change places. For NumPy files only.

    Raises:
        UserError: what cannot be read or is no k-space, in words.
    """
    path = Path(path)
    read = kspace_format(path).function("read_kspace")
    assert read is not None
    kspace: KSpace = read(path)
    check_values(kspace.data, path)
    if not rows:
        return kspace
    if kspace.knows_axis:
        raise UserError(f"{path}: the format says that columns are phase-encoded; leave --phase-encode out")
    return turned(kspace)


def kspace_format(path: Path) -> Format:
    """The format to read a file's k-space with.

    Raises:
        UserError: no such file, or one that holds none.
    """
    if why := absence(path):
        raise UserError(f"{path}: {why}; give k-space as .npy, .npz, .h5 or .mrd with --kspace")
    form = reading_format(path, "read_kspace")
    if form is None:
        raise UserError(f"{path}: k-space is read from .npy, .npz, .h5 or .mrd files; an image goes with --target")
    return form


def check_result_name(out: Path, source: Path) -> None:
    """Refuse a file name that does not fit what a result can be written as, before any work is done.

    Raises:
        UserError: neither NIfTI nor what the source's format allows.
    """
    form, own = format_of(out), format_of(source)
    allowed = ["nifti"] if own is None else ["nifti", *own.results, own.name]
    if form is not None and form.name in allowed and form.writes(out):
        return
    others = [FORMATS.get(name) for name in dict.fromkeys(allowed[1:]) if name != "nifti"]
    known = {"numpy": ("NumPy", ".npz or .npy"), "fastmri": ("fastMRI's form of a submission", ".h5")}
    words = [known.get(one.name, (one.name, one.endings[0])) for one in others if one.write is not None]
    titles, endings = zip(("NIfTI", ".nii.gz"), *words, strict=True)
    raise UserError(f"{out}: the result is written as {' or '.join(titles)}; end the name in {' or '.join(endings)}")


def is_ours(path: Path) -> bool:
    """Whether this package wrote a file or a DICOM folder, as the content says; False where it cannot say so."""
    if path.is_dir():
        return bool(imported("fsmnet.data.formats.dicom:is_ours", "DICOM")(path))
    form = format_of(path)
    ours = None if form is None else form.function("is_ours")
    return ours is not None and bool(ours(path))
