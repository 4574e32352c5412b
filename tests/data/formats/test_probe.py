"""A file that HDF5 never finishes, or dies of, is told; the process that looks is started again for the next one."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from fsmnet.data.formats import probe


@pytest.fixture
def good(tmp_path):
    with h5py.File(tmp_path / "good.h5", "w") as file:
        file["kspace"] = np.ones((2, 3, 4), "c8")
        file["group/data"] = np.ones(3)
    return tmp_path / "good.h5"


@pytest.fixture
def replaced(monkeypatch):
    """Function (code) that puts another child in the place of the one that looks."""

    def replace(code: str) -> None:
        probe._process.cache_clear()
        probe._fault.cache_clear()
        monkeypatch.setattr(probe, "CODE", code)

    yield replace
    probe._process.cache_clear()
    probe._fault.cache_clear()


def test_good_and_bad_files_one_after_the_other(good, tmp_path):
    assert probe.fault(good) == ""
    (tmp_path / "bad.h5").write_bytes(good.read_bytes()[:-50])
    assert probe.fault(tmp_path / "bad.h5").startswith("cut short, damaged or not an HDF5 file (")
    assert probe.fault(good) == ""


def test_one_that_never_answers(good, replaced, monkeypatch):
    monkeypatch.setattr(probe, "SECONDS", 0.5)
    replaced("while True: pass")
    assert "the HDF5 library is not done with it in 0 s" in probe.fault(good)
    monkeypatch.setattr(probe, "SECONDS", 60.0)
    replaced(probe.__dict__["CODE"].replace("while True: pass", "from fsmnet.data.formats.probe import child; child()"))
    assert probe.fault(good) == ""


def test_a_slow_start_is_no_damage(good, replaced, monkeypatch):
    """On a busy machine the clock goes on while the process waits; one that never looks is ended at last."""
    monkeypatch.setattr(probe, "SECONDS", 2.0)
    monkeypatch.setattr(probe, "_spent", lambda pid: 0.0)  # of a processor
    replaced("import time; time.sleep(3); from fsmnet.data.formats.probe import child; child()")
    assert probe.fault(good) == ""
    monkeypatch.setattr(probe, "WAIT", 0.25)
    replaced("import time; time.sleep(10**6)")
    assert "the HDF5 library is not done with it in 2 s" in probe.fault(good)


def test_one_that_dies(good, replaced):
    replaced("import os; os.abort()")
    assert "the HDF5 library fails on it" in probe.fault(good)


def test_nobody_to_look(good, replaced, monkeypatch):
    replaced("")
    monkeypatch.setattr("sys.executable", "/nowhere")
    assert probe.fault(good) == ""
