"""Names from inside, from Python and from installed packages, and what is said of those that cannot be found."""

from __future__ import annotations

import pytest

from fsmnet.errors import UserError
from fsmnet.registry import Registry, imported


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package installed beside this one, which brings a thing, a broken one, and one whose name is taken."""
    (tmp_path / "own_things.py").write_text("GOOD = 7\n")
    (tmp_path / "broken_things.py").write_text("import not_installed_anywhere\n")
    info = tmp_path / "own_things-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-things\nVersion: 1.0\n")
    points = "[fsmnet.test]\ngood = own_things:GOOD\nbad = broken_things:X\nours = own_things:GOOD\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_names_are_found_wherever_they_come_from(package):
    registry = Registry("thing", "fsmnet.test", {"ours": 1})
    registry.register("yours", 3)
    registry.register("yours", 2)  # as a cell of a notebook that is run again
    registry.register("placed", "own_things:GOOD")
    assert list(registry) == ["ours", "good", "bad", "yours", "placed"]
    assert [registry.get(name) for name in ("ours", "yours", "good", "placed", "own_things:GOOD")] == [1, 2, 7, 7, 7]
    assert "good" in registry
    assert "nobody" not in registry
    with pytest.raises(UserError, match=r"thing 'bad': broken_things cannot be imported \(ModuleNotFoundError: No mod"):
        registry.get("bad")


def test_names_that_cannot_be_are_refused_in_words():
    registry = Registry("thing", "fsmnet.test", {"ours": 1})
    told = r"unknown thing 'our' \(did you mean ours\?\); choose one of ours, or give package\.module:Name"
    with pytest.raises(UserError, match=told):
        registry.get("our")
    with pytest.raises(UserError, match="the thing 'ours' is one of fsmnet's own; choose another name"):
        registry.register("ours", 2)
    for name in ("", "a:b"):
        with pytest.raises(UserError, match="cannot be the name of a thing; choose one without a colon"):
            registry.register(name, 2)


def test_places_are_imported_or_refused_in_words():
    assert imported("math:pi", "number") == pytest.approx(3.14159265)
    with pytest.raises(UserError, match="number: math has no 'tau2'; see how it is written there"):
        imported("math:tau2", "number")
    with pytest.raises(UserError, match=r"number: no\.where cannot be imported .* or put its folder on PYTHONPATH"):
        imported("no.where:x", "number")
