"""Damaged files of every kind are read or refused in one sentence that names them, within limits of time and memory.

A hundred of most kinds in the normal suite; two thousand of each with ``-m slow``. By hand, from ``tests``:
``python fuzz/harness.py READER COUNT FOLDER [FIRST SEED]``.
"""

from __future__ import annotations

import sys

import pytest

from fuzz.harness import fuzz
from fuzz.mutations import mutated
from fuzz.readers import READERS

MEMORY = 2048  # MiB
# What is no record of ours, or no sidecar, counts as none; an index is made anew.
LENIENT = ("records", "sidecars", "indexes")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits of memory are POSIX's")


def run(reader: str, count: int, tmp_path) -> None:
    for name, package in (("ismrmrd", "ismrmrd"), ("dicom", "pydicom")):
        if reader == name:
            pytest.importorskip(package)
    outcomes, told, memory = fuzz(reader, count, tmp_path / reader)
    assert not told, "\n".join(told[:20])
    assert sum(outcomes.values()) == count
    assert outcomes["refused"] or reader in LENIENT
    assert memory <= MEMORY


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files(reader, tmp_path):
    run(reader, READERS[reader].quick, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_two_thousand_damaged_files(reader, tmp_path):
    run(reader, 2000, tmp_path)


def test_a_seed_makes_the_same_damage():
    data = bytes(range(256)) * 8
    assert [mutated(data, seed) for seed in range(200)] == [mutated(data, seed) for seed in range(200)]
    assert sum(mutated(data, seed) != data for seed in range(200)) > 190
