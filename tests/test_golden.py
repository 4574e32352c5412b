"""The golden numbers committed here are those of the full arrays, where these are there too."""

from __future__ import annotations

import json

import pytest

import golden

pytestmark = pytest.mark.skipif(not golden.FULL.is_dir(), reason="only the committed arrays are here")


def test_the_sample_is_of_the_full_arrays():
    assert len({key.split("/")[0] for key in golden.committed()}) == len(list(golden.FULL.glob("*.npz")))
    for key, sample in golden.committed().items():
        file, name = key.split("/")
        full = golden.full(file)
        assert full is not None
        assert golden.largest_difference(full[name], sample) == 0, key


def test_the_entries_are_the_full_ones():
    files = list(golden.FULL.glob("*_keys.json"))
    assert len(files) == 7
    for file in files:
        document = json.loads(file.read_text())
        for configuration in document.values():
            if isinstance(configuration, dict) and isinstance(configuration.get("entries"), list):
                configuration["entries"] = {name: shape for name, shape, *_ in configuration["entries"]}
        assert golden.keys(file.name.removesuffix("_keys.json")) == document
