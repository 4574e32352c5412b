"""HDF5 files are opened without a lock, closed in the end, and believed only as far as their size allows."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from fsmnet.data.formats import read_kspace, read_volume
from fsmnet.data.formats.opened import contents, opened, refuse_entities
from fsmnet.errors import UserError

LAYOUTS = {
    "never written": {"shape": (1 << 20, 1 << 20), "dtype": "u1"},
    "never written, in chunks": {"shape": (1 << 20, 1 << 20), "dtype": "u1", "chunks": (1024, 1024)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["reconstruction_rss", "kspace"])
def test_a_dataset_of_a_tebibyte_in_a_small_file(tmp_path, layout, name):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        options = LAYOUTS[layout]
        dtype = "c8" if name == "kspace" else options["dtype"]
        file.create_dataset(name, **options | {"shape": (1, *options["shape"]), "dtype": dtype} | chunked(options))
        file["ismrmrd_header"] = "<a/>"
    read = read_kspace if name == "kspace" else read_volume
    with pytest.raises(UserError, match=rf"scan.h5: the dataset '/{name}' is said to have \d+ bytes, and 0 bytes are"):
        read(path)


def chunked(options: dict) -> dict:
    return {"chunks": (1, *options["chunks"])} if "chunks" in options else {}


def test_what_is_compressed_well_is_read(tmp_path):
    with h5py.File(tmp_path / "zeros.h5", "w") as file:
        file.create_dataset("zeros", data=np.zeros((64, 1024, 1024), np.uint8), compression="gzip", compression_opts=9)
    with opened(tmp_path / "zeros.h5") as file:
        assert contents(file["zeros"], tmp_path / "zeros.h5").shape == (64, 1024, 1024)


@pytest.mark.parametrize("locking", [None, True, "best-effort"])
def test_no_lock_is_taken_and_none_minded(tmp_path, locking):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["one"] = 1
    with h5py.File(path, "r", locking=locking), opened(path) as file:  # by this process, with a lock
        assert list(file) == ["one"]
    with opened(path) as first:
        assert not first.id.get_access_plist().get_file_locking()[0]
    assert not first


def test_errors_within_the_block_are_told_and_the_file_is_closed(tmp_path):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["one"] = 1
    with pytest.raises(UserError, match=r"scan.h5: cut short, damaged or not an HDF5 file \(.*; copy it again"):  # noqa: SIM117
        with opened(path) as file:
            file["two"][()]
    assert not file


def test_entities_are_refused_and_no_xml_is_left_to_others(tmp_path):
    with pytest.raises(UserError, match=r"h\.h5: its XML header has a DOCTYPE"):
        refuse_entities('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', tmp_path / "h.h5")
    refuse_entities("<a>no end", tmp_path / "h.h5")
    refuse_entities(b"<a/>", tmp_path / "h.h5")
