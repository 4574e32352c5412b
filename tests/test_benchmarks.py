"""Every benchmark script finds what it imports, and says what it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
MODULES = {"figures.py"}  # imported by the others

# All in one process, which imports PyTorch once.
RUN = """
import contextlib, io, runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            runpy.run_path(script, run_name="__main__")
        raise SystemExit(f"{script} did not end with its help")
    except SystemExit as end:
        if end.code:
            raise
    assert shown.getvalue().startswith("usage: "), script
"""


def test_every_script_shows_its_help():
    scripts = sorted(str(file) for file in FOLDER.glob("*.py") if file.name not in MODULES)
    assert len(scripts) > 10
    command = [sys.executable, "-c", RUN, *scripts]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER), *sys.path])}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert process.returncode == 0, process.stderr


def test_the_page_of_trials_shows_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import trials

    page = (FOLDER.parent / "docs" / "trials.md").read_text(encoding="utf-8")
    results = json.loads((FOLDER / "trials.json").read_text(encoding="utf-8"))
    assert set(results) <= set(trials.TRIALS)
    assert trials.with_table(page, results) == page
