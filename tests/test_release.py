"""What is built: wheel and sdist hold what they should, work away from the repository, and fit the container."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fsmnet

ROOT = Path(__file__).resolve().parents[1]
WHEEL, SDIST = f"fsmnet-{fsmnet.__version__}-py3-none-any.whl", f"fsmnet-{fsmnet.__version__}.tar.gz"


def tracked(folder: str) -> set[str]:
    """Files of a folder of the repository that git knows."""
    listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode or not listed.stdout:
        pytest.skip("this is no git checkout")
    return set(listed.stdout.split())


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Folder with the wheel and the sdist of this tree, without asking an index."""
    pytest.importorskip("hatchling", reason="hatchling builds the package")
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return out


def test_the_wheel_holds_the_package_and_nothing_else(dist):
    inside = set(zipfile.ZipFile(dist / WHEEL).namelist())
    package = {name for name in inside if ".dist-info/" not in name}
    assert package == {name.removeprefix("src/") for name in tracked("src/fsmnet")}
    assert {"fsmnet/weights/fsmnet_unrolled.safetensors", "fsmnet/configs/quick.yaml", "fsmnet/py.typed"} <= package
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_the_sdist_holds_what_the_tests_need(dist):
    with tarfile.open(dist / SDIST) as archive:
        inside = {name.split("/", 1)[1] for name in archive.getnames()}
    assert tracked("src") | tracked("tests") | tracked("docs") <= inside
    assert {"README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "Containerfile"} <= inside


def test_one_version_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {fsmnet.__version__}\n" in citation
    assert f"\n## {fsmnet.__version__} (" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_container_file_copies_what_there_is(dist):
    """No engine is needed: what it copies exists, what it installs and starts is declared."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    steps = [line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert steps[0][0] == "FROM"
    for step, words in steps:
        for source in shlex.split(words)[:-1] if step == "COPY" else []:
            assert f"!{source}" in kept
            assert list(dist.glob(Path(source).name) if source.startswith("dist/") else ROOT.glob(source))
    [run] = [words for step, words in steps if step == "RUN"]
    [extras] = re.findall(r"fsmnet\[([\w,]+)\]", run)
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", pyproject, re.MULTILINE) for extra in extras.split(","))
    assert json.loads(dict(steps)["ENTRYPOINT"]) == ["fsmnet"]
    assert 'fsmnet = "fsmnet.cli:main"' in pyproject
    assert "USER" in dict(steps)  # not as root


def test_the_oldest_versions_are_those_that_are_declared():
    declared = dict(
        re.findall(r'"([\w-]+)>=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("dev = [")[0])
    )
    oldest = dict(
        re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert oldest.keys() <= declared.keys()
    assert {"torch", "numpy", "nibabel", "h5py"} <= oldest.keys()
    for name, version in oldest.items():
        assert (version + ".0").startswith(declared[name] + "."), name


@pytest.mark.slow
@pytest.mark.parametrize("built", [WHEEL, SDIST])
def test_it_works_in_an_empty_environment_away_from_the_repository(dist, built, tmp_path):
    """Installed with its pins, asked for help, and used for a scan from Python and from the command line."""
    venv.create(tmp_path / "env", with_pip=True)
    folder, binary = tmp_path / "work", tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(program: str, *words: str) -> str:
        done = subprocess.run([binary / program, *words], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("python", "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), str(dist / built))
    assert fsmnet.__version__ in run("fsmnet", "--version")
    run("fsmnet", "doctor")
    assert "fsmnet_unrolled" in run("fsmnet", "models")
    y, x = np.mgrid[-1:1:64j, -1:1:48j]
    head = ((x**2 + y**2 < 0.8) * (1 + 0.5 * np.cos(9 * x) * np.cos(7 * y))).astype(np.float32)
    for name, image in (("T2", head), ("T1", head**2)):
        np.save(folder / f"{name}.npy", np.stack([image, image, image]))
    scan = ["--target", "T2.npy", "--auxiliary", "T1.npy", "--acceleration", "2", "--out", "again.npy"]
    run("fsmnet", "reconstruct", *scan)
    again = np.load(folder / "again.npy")
    assert again.shape == (3, 64, 48)
    assert np.corrcoef(again.ravel(), np.stack([head] * 3).ravel())[0, 1] > 0.999  # zero-filled: 0.994
    run("python", "-c", "import fsmnet; fsmnet.create_model('fsmnet', features=8, blocks=1)")
