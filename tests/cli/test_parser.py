"""The command line: help, configuration files, exit codes, and one line for every mistake."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import fsmnet
import fsmnet.cli.mask
import fsmnet.cli.train
from fsmnet.cli.parser import main
from fsmnet.cli.presets import FOLDER

TINY = ["--device", "cpu", "--protocol", "float"]
UNET = ["--model", "mdunet", "--model-options", "{features: 4, levels: 2}", "--iterations", "1", "--batch", "1"]


def run(arguments: list[str]) -> int:
    """Exit code, whether the parser or the command decides it."""
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# -- who answers -------------------------------------------------------------------------------------------------------


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"fsmnet {fsmnet.__version__}\n"


def test_python_dash_m():
    version = subprocess.run([sys.executable, "-m", "fsmnet", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"fsmnet {fsmnet.__version__}\n"


# -- configuration ----------------------------------------------------------------------------------------------------


@pytest.fixture
def parsed(monkeypatch):
    """Function (arguments) -> the configuration that the train command is given."""
    seen = []
    monkeypatch.setattr(fsmnet.cli.train, "command", seen.append)

    def parse(*arguments: str):
        assert main(["train", *arguments]) == 0
        return seen.pop()

    return parse


def test_flags_and_yaml_name_the_same_options(parsed, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("data: scans\nout: runs\nmodel_options: {features: 16}\nbetas: [0.8, 0.9]\naugment: false\n")
    from_file = parsed("--config", str(file))
    flags = ["--data", "scans", "--out", "runs", "--model-options", "{features: 16}", "--betas", "0.8", "0.9"]
    assert parsed(*flags, "--no-augment") == from_file
    assert (from_file.data, from_file.betas, from_file.augment) == (Path("scans"), [0.8, 0.9], False)
    assert parsed("--config", str(file), "--batch", "7", "--augment").batch == 7
    assert parsed("--config", str(file), "--augment").augment is True


@pytest.mark.parametrize("place", ["before", "between", "after", "with an equals sign"])
def test_options_win_over_the_file_wherever_they_stand(parsed, tmp_path, place):
    file = tmp_path / "run.yaml"
    file.write_text("data: scans\nout: runs\nbatch: 2\nbetas: [0.5, 0.6]\nseed: 3\n")
    arguments = {
        "before": ["--config", str(file), "--batch", "9", "--betas", "0.8", "0.9"],
        "between": ["--batch", "9", "--config", str(file), "--betas", "0.8", "0.9"],
        "after": ["--batch", "9", "--betas", "0.8", "0.9", "--config", str(file)],
        "with an equals sign": ["--batch", "9", "--betas", "0.8", "0.9", f"--config={file}"],
    }
    config = parsed(*arguments[place])
    assert (config.batch, config.betas, config.seed) == (9, [0.8, 0.9], 3)


def test_null_and_names_in_yaml(parsed, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "data: a\nout: b\niterations: null\nminutes: 3\nmask_seed: name\ncases: [x, y]\nlearning_rate: 1e-3\n"
    )
    config = parsed("--config", str(file))
    assert (config.iterations, config.minutes, config.mask_seed) == (None, 3.0, "name")
    assert (config.cases, config.learning_rate) == (["x", "y"], 1e-3)


def test_presets_by_name(parsed, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ["--data", "scans", "--out", "runs"]
    assert parsed("--config", "quick", *words) == parsed("--config", str(FOLDER / "quick.yaml"), *words)
    assert parsed("--config", "quick", *words, "--batch", "7").batch == 7
    Path("quick").write_text("batch: 9")
    assert parsed("--config", "quick", *words).batch == 9  # a file of the user's own


@pytest.mark.parametrize(
    ("command", "name", "message"),
    [
        ("train", "nosuch", "or a preset: ablation_fsfe, ablation_fsfe_cms, "),
        ("train", "quik", "(did you mean quick?)"),
        ("compare", "nosuch", "or a preset: compare, compare_fast, compare_small;"),
        ("models", "nosuch", "nosuch: cannot be read (no such file or directory); give a YAML file with --config;"),
    ],
)
def test_presets_that_are_none(command, name, message, capsys):
    assert run([command, "--config", name]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_later_files_win(parsed, tmp_path):
    for name, batch in (("one.yaml", 2), ("two.yaml", 3)):
        (tmp_path / name).write_text(f"data: a\nout: b\nbatch: {batch}\n")
    assert parsed("--config", str(tmp_path / "one.yaml"), "--config", str(tmp_path / "two.yaml")).batch == 3


# -- exit codes -------------------------------------------------------------------------------------------------------


def test_ctrl_c(monkeypatch, capsys):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(fsmnet.cli.mask, "command", interrupted)
    assert main(["mask", "--out", "mask.npy"]) == 130
    assert capsys.readouterr().err == "fsmnet mask: interrupted\n"


def test_ctrl_c_while_it_starts(monkeypatch, capsys):
    def interrupted(words):
        raise KeyboardInterrupt

    monkeypatch.setattr("fsmnet.cli.parser.parse", interrupted)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "fsmnet: interrupted\n"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: ...")])
def test_too_little_memory_is_one_line(error, monkeypatch, capsys):
    def greedy(config):
        raise error

    monkeypatch.setattr(fsmnet.cli.mask, "command", greedy)
    assert main(["mask", "--out", "mask.npy"]) == 2
    assert capsys.readouterr().err.startswith("fsmnet mask: error: there is not enough memory; lower batch")


def test_a_defect_of_ours_is_not_hidden(monkeypatch):
    def broken(config):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(fsmnet.cli.mask, "command", broken)
    with pytest.raises(RuntimeError):
        main(["mask", "--out", "mask.npy"])


def test_the_operating_system_s_errors_are_one_line(monkeypatch, capsys):
    def forbidden(config):
        raise PermissionError(errno.EACCES, "Permission denied", "split.json")

    monkeypatch.setattr(fsmnet.cli.mask, "command", forbidden)
    assert main(["mask", "--out", "mask.npy"]) == 2
    line = "fsmnet mask: error: split.json: permission denied; see to the file or the disk\n"
    assert capsys.readouterr().err == line


def test_output_into_a_closed_pipe(tmp_path):
    code = f"import sys; from fsmnet.cli import main; sys.exit(main(['mask', '--out', {str(tmp_path / 'm.npy')!r}]))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, b"")


# -- mistakes on the command line and in YAML -------------------------------------------------------------------------

PARSER = {
    "no command": ([], "fsmnet", "which command? demo, train, runs,"),
    "unknown command": (["trian"], "fsmnet", r"unknown command 'trian' (did you mean train?)"),
    "option before the command": (["--batch", "3"], "fsmnet", "--batch stands before the command; write the"),
    "unknown option": (["train", "--glory", "3"], "fsmnet train", "unknown option --glory; see"),
    "option of a network": (
        ["train", "--featurs", "3"],
        "fsmnet train",
        "unknown option --featurs (did you mean --model-options '{features: VALUE}'?)",
    ),
    "misspelt option": (["train", "--bacth=3"], "fsmnet train", "unknown option --bacth (did you mean --batch?)"),
    "misspelt choice": (
        ["train", "--schedule", "cosin"],
        "fsmnet train",
        "--schedule takes constant, step or cosine, not 'cosin' (did you mean cosine?)",
    ),
    "a beginning": (
        ["train", "--iteration", "3"],
        "fsmnet train",
        "unknown option --iteration (did you mean --iterations?)",
    ),
    "one dash": (["pair", "-d", "a"], "fsmnet pair", "unknown option -d"),
    "a beginning of a flag for all": (
        ["models", "--verbos"],
        "fsmnet models",
        "unknown option --verbos (did you mean --verbose?)",
    ),
    "two words for one": (["pair", "a", "b"], "fsmnet pair", "'b' belongs to no option"),
    "stray word": (["mask", "--out", "m.npy", "extra"], "fsmnet mask", "'extra' belongs to no option"),
    "missing": (["train"], "fsmnet train", "DATA and --out are missing"),
    "three missing": (["evaluate"], "fsmnet evaluate", "DATA, --models and --out are missing"),
    "a wrong word": (["completion", "tcsh"], "fsmnet completion", "SHELL takes bash, zsh or fish, not 'tcsh'"),
    "the same by its flag": (["completion", "--shell", "tcsh"], "fsmnet completion", "--shell takes bash, zsh or fish"),
    "one missing": (["mask"], "fsmnet mask", "--out is missing"),
    "no value": (["mask", "--out"], "fsmnet mask", "--out: expected one argument"),
    "not a number": (["mask", "--columns", "q"], "fsmnet mask", "--columns takes a whole number, not 'q'"),
    "not a choice": (
        ["train", "--schedule", "spiral"],
        "fsmnet train",
        "--schedule takes constant, step or cosine, not 'spiral'",
    ),
    "neither of two": (
        ["train", "--mask-seed", "foo"],
        "fsmnet train",
        "--mask-seed takes a whole number, name or null, not 'foo'",
    ),
    "not a list of numbers": (
        ["train", "--betas", "a", "b"],
        "fsmnet train",
        "--betas takes a list of numbers, not 'a'",
    ),
    "not a mapping": (
        ["train", "--model-options", "3"],
        "fsmnet train",
        "--model-options takes a mapping such as {features: 16}, not '3'",
    ),
    "value of a switch": (
        ["train", "--resample=maybe"],
        "fsmnet train",
        "--resample/--no-resample: takes no value, not 'maybe'",
    ),
}

YAML = {
    "unknown": ("glory: 3", "unknown option 'glory' in {file}"),
    "of a network": (
        "features: 3",
        "unknown option 'features' in {file} (did you mean model_options: {{features: VALUE}}?)",
    ),
    "misspelt": ("bacth: 3", "unknown option 'bacth' in {file} (did you mean batch?)"),
    "as a flag": ("center-fraction: 0.1", "unknown option 'center-fraction' in {file} (did you mean center_fraction?)"),
    "as a switch": ("no-augment: true", "unknown option 'no-augment' in {file}"),
    "another file": ("config: other.yaml", "unknown option 'config' in {file}"),
    "number as key": ("1: 2", "unknown option '1' in {file}"),
    "malformed": ("batch: 4\nbetas: [3", "{file}: not YAML (line 3: expected ',' or ']', but got '<stream end>')"),
    "tabs": ("model_options:\n\tfeatures: 3", "{file}: not YAML (line 2: found character '\\t' that cannot start any"),
    "empty": ("", "{file}: holds no options; write lines such as 'batch: 4'"),
    "list": ("- 3", "{file}: holds no options; write lines such as 'batch: 4'"),
    "text": ("hello", "{file}: holds no options; write lines such as 'batch: 4'"),
    "number": ("batch: 3.5", "batch in {file} takes a whole number, not '3.5'"),
    "switch": ("resample: maybe", "resample in {file} takes true or false, not 'maybe'"),
    "list of one": ("cases: case-1", "cases in {file} takes a list of texts or null, not 'case-1'"),
    "list of texts": ("betas: [a, b]", "betas in {file} takes a list of numbers, not 'a'"),
    "mapping": ("model_options: 3", "model_options in {file} takes a mapping such as {{features: 16}}, not '3'"),
    "choice": ("coils: both", "coils in {file} takes single or multi, not 'both'"),
}


def assert_parser_refuses(arguments, program, message, capsys):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"{program}: error: {message}")
    assert captured.err.endswith(f"; see '{program} --help'\n")


@pytest.mark.parametrize("mistake", PARSER)
def test_mistakes_on_the_command_line(mistake, capsys):
    assert_parser_refuses(*PARSER[mistake], capsys)


@pytest.mark.parametrize("mistake", YAML)
def test_mistakes_in_yaml(mistake, capsys, tmp_path):
    content, message = YAML[mistake]
    file = tmp_path / "quick.yaml"
    file.write_text(content + "\n")
    arguments = ["train", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--config", str(file)]
    assert_parser_refuses(arguments, "fsmnet train", message.format(file=file), capsys)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "cannot be read (no such file or directory); give a YAML file with --config"),
        ("folder", "cannot be read (is a directory); give a YAML file with --config"),
        ("binary", "not a text file; give a YAML file with --config"),
    ],
)
def test_yaml_files_that_are_none(kind, message, tmp_path, capsys):
    file = tmp_path / "quick.yaml"
    if kind == "folder":
        file.mkdir()
    elif kind == "binary":
        file.write_bytes(b"\xff\xfe\x00")
    assert_parser_refuses(["models", "--config", str(file)], "fsmnet models", f"{file}: {message}", capsys)


# -- wrong inputs -----------------------------------------------------------------------------------------------------


class Place:
    """A folder with two good pairs, a checkpoint, and commands over them."""

    def __init__(self, root: Path, write_nifti, smooth, checkpoint_file) -> None:
        self.root, self.data, self.out = root, root / "data", root / "out"
        self.write, self.smooth, self.checkpoint_file = write_nifti, smooth, checkpoint_file
        for case in ("case-1", "case-2"):
            for seed, contrast in enumerate(("t1", "t2")):
                write_nifti(self.data / case / f"{case}_{contrast}.nii.gz", smooth(seed, (24, 32, 3)))
        self.target, self.auxiliary = (self.data / "case-1" / f"case-1_{c}.nii.gz" for c in ("t2", "t1"))
        self.checkpoint = checkpoint_file(root / "best.safetensors")

    def command(self, name: str, *more: str) -> list[str]:
        if name == "train":
            files = ["--data", str(self.data), "--out", str(self.out), *TINY, *UNET, "--validation-fraction", "0"]
        elif name == "evaluate":
            files = ["--data", str(self.data), "--out", str(self.out), *TINY, "--models", str(self.checkpoint)]
        else:
            out = self.out / "result.nii.gz"
            files = ["--target", str(self.target), "--auxiliary", str(self.auxiliary), "--out", str(out)]
            files += ["--checkpoint", str(self.checkpoint), "--device", "cpu"]
        return [name, *files, *more]


@pytest.fixture
def place(tmp_path, write_nifti, smooth, checkpoint_file):
    return Place(tmp_path, write_nifti, smooth, checkpoint_file)


@pytest.fixture
def refuses(capsys, caplog, tmp_path):
    """Function (arguments, message): one line, exit code 2, and no file is written or changed."""

    def check(arguments: list[str], message: str) -> None:
        before = files_below(tmp_path)
        caplog.clear()
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1, captured.err
        assert captured.err.startswith(f"fsmnet {arguments[0]}: error: ")
        assert message in captured.err
        assert not caplog.records
        assert files_below(tmp_path) == before
        assert not (tmp_path / "out").exists()

    return check


def no_header(place):
    place.target.write_bytes(gzip.compress(b"these are not the slices you are looking for" * 20))


def text(place):
    place.target.write_text("hello\n")


def cut_short(place):
    place.target.write_bytes(place.target.read_bytes()[:3000])


def four_axes(place):
    place.write(place.target, place.smooth(0, (24, 32, 3, 2)))


def other_size(place):
    place.write(place.auxiliary, place.smooth(0, (24, 30, 3)))


def other_place(place):
    affine = np.eye(4)
    affine[0, 3] = 2
    place.write(place.auxiliary, place.smooth(0, (24, 32, 3)), affine)


def constant(place):
    place.write(place.target, np.full((24, 32, 3), 7.0, np.float32))


def empty(place):
    place.write(place.auxiliary, np.zeros((24, 32, 3), np.int16))


def not_a_number(place):
    place.write(place.target, np.full((24, 32, 3), np.nan, np.float32))


def complex_values(place):
    place.write(place.target, np.ones((24, 32, 3), np.complex64))


VOLUMES = {
    no_header: "case-1_t2.nii.gz: not a NIfTI image; give a .nii or .nii.gz file",
    text: "case-1_t2.nii.gz: not a NIfTI image; give a .nii or .nii.gz file",
    cut_short: "case-1_t2.nii.gz: cut short or damaged (",
    four_axes: "case-1_t2.nii.gz: has 4 axes (24, 32, 3, 2); give one 3-D volume",
    other_size: "case-1_t1.nii.gz is 24 x 30 x 3; pass --resample to bring the auxiliary onto the target's grid",
    other_place: "have the same size but lie up to 2 mm apart; pass --resample",
    constant: "case-1_t2.nii.gz: every voxel is 7; a constant volume cannot be reconstructed",
    empty: "case-1_t1.nii.gz: every voxel is 0; a constant volume cannot be reconstructed",
    not_a_number: "case-1_t2.nii.gz: every voxel is NaN or infinite; there is nothing to reconstruct",
    complex_values: "case-1_t2.nii.gz: holds complex64 values; give a real magnitude image",
}


@pytest.mark.parametrize("command", ["train", "evaluate", "reconstruct"])
@pytest.mark.parametrize("damage", VOLUMES, ids=lambda damage: damage.__name__)
def test_wrong_volumes(place, refuses, command, damage):
    damage(place)
    refuses(place.command(command), VOLUMES[damage])


@pytest.mark.parametrize("command", ["evaluate", "reconstruct"])
def test_answers_for_a_script(place, capsys, command):
    """Nothing but JSON on the standard output."""
    more = ["--check", "off"] if command == "reconstruct" else []
    assert main(place.command(command, "--json", "-q", *more)) == 0
    found = json.loads(capsys.readouterr().out)
    if command == "reconstruct":
        assert found == json.loads((place.out / "result.json").read_text())
    else:
        assert found == json.loads((place.out / "summary.json").read_text())


def test_missing_files(place, refuses):
    for name in ("target", "auxiliary"):
        path = place.root / f"no-{name}.nii.gz"
        refuses(place.command("reconstruct", f"--{name}", str(path)), f"{path}: no such file")
    for command in ("train", "evaluate"):
        refuses(place.command(command, "--data", "nowhere"), "nowhere: no such folder; give the folder that holds")
        refuses(place.command(command, "--cases", "case-9"), "no pair for case case-9; there are case-1, case-2")
        refuses(place.command(command, "--split", "no.json"), "no.json: no such split file")
    refuses(place.command("reconstruct", "--mask", "no.npy"), "no.npy: no such mask file; make one with 'fsmnet mask")
    refuses(place.command("train", "--init", "no.safetensors"), "no.safetensors: no such checkpoint file; make one")
    refuses(place.command("evaluate", "--models", "no.safetensors"), "no.safetensors: neither a checkpoint file nor")
    refuses(place.command("reconstruct", "--checkpoint", "no.safetensors"), "no.safetensors: no such checkpoint file")
    refuses(place.command("reconstruct", "--checkpoint", "shiped"), "no such checkpoint file (did you mean shipped?)")


@pytest.mark.parametrize("command", ["train", "evaluate", "reconstruct", "mask"])
def test_impossible_accelerations(place, refuses, command):
    arguments = place.command(command)
    if command == "mask":
        arguments = ["mask", "--columns", "32", "--out", str(place.out / "mask.npy")]
    for acceleration in ("0", "1", "100", "-4"):
        expected = f"acceleration {acceleration} is impossible with 32 columns; give more than 1, at most 32"
        if command == "reconstruct" and acceleration != "100":
            expected = f"acceleration must be more than 1, not {acceleration}"
        refuses([*arguments, "--acceleration", acceleration], expected)


def test_masks_that_do_not_fit(place, refuses):
    mask = place.root / "mask.npy"
    for content, message in (
        (np.ones(30, bool), "mask.npy: the mask has 30 columns, the data 32; make one with --columns 32"),
        (np.zeros(32, bool), "mask.npy: the mask keeps no column"),
        (np.ones((3, 32), bool), "mask.npy: a mask has one axis of 0 and 1, this array has shape (3, 32)"),
    ):
        np.save(mask, content)
        refuses(place.command("reconstruct", "--mask", str(mask)), message)
    mask.write_text("0101")
    refuses(place.command("reconstruct", "--mask", str(mask)), "mask.npy: not a mask in .npy or .npz form")


def test_a_mask_is_not_replaced_unless_asked_for(place, refuses, capsys):
    """It may be the mask of scans that were simulated with it, and a new draw is another one."""
    out = place.root / "mask.npz"
    command = ["mask", "--columns", "32", "--out", str(out)]
    assert main([*command, "--seed", "1"]) == 0
    before = out.read_bytes()
    capsys.readouterr()
    refuses([*command, "--seed", "2"], f"{out}: exists already; pass --overwrite to replace it")
    assert out.read_bytes() == before
    assert main([*command, "--seed", "2", "--overwrite"]) == 0
    assert out.read_bytes() != before


@pytest.mark.parametrize("out", ["result.npy", "result.nii.gz"])
def test_what_holds_no_kspace_is_said_whatever_the_result_is_called(place, refuses, out):
    command = ["reconstruct", "--out", str(place.out / out), "--kspace"]
    refuses([*command, str(place.target)], "case-1_t2.nii.gz: holds a nifti image and no k-space; give an image with")
    refuses([*command, str(place.root)], "is a folder; give the one file that is meant; give k-space as .npy")
    refuses([*command, "gone.h5"], "gone.h5: no such file; give k-space as .npy")


def test_a_file_where_a_folder_is_meant(place, refuses):
    file, out = str(place.target), ["--out", str(place.out / "out")]
    for words in (["train", file, *out], ["pair", file, *out], ["runs", file]):
        refuses(words, f"{file}: is a file and no folder; give the")
    for command, name in (("evaluate", "--split"), ("reconstruct", "--pairs")):
        words = ["reconstruct", *out] if command == "reconstruct" else place.command(command)
        refuses([*words, name, str(place.root)], f"{place.root}: is a folder; give ")
    table = place.root / "table"
    table.mkdir()
    refuses(["pair", str(place.root), "--out", str(table)], f"{table}: is a folder; give the name of the table")


def test_a_path_of_a_configuration_is_no_preset(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--config", "runs/gone/config.yaml"])
    told = capsys.readouterr().err
    assert "gone/config.yaml: cannot be read (no such file or directory); give a YAML file" in told
    assert "preset" not in told


def test_unknown_models(place, refuses):
    refuses(
        place.command("train", "--model", "fsmnett"),
        "unknown model 'fsmnett' (did you mean fsmnet?); choose one of zero_filling, pocs, mdunet",
    )
    refuses(
        place.command("train", "--model-options", "{featurs: 3}"),
        "no option 'featurs' (did you mean features?); it",
    )
    refuses(place.command("train", "--model-options", "{features: many}"), "many")
    refuses(place.command("evaluate", "--models", "fsmnet"), "fsmnet is a model without weights; give a checkpoint")


def of_another_model(place):
    """Weights of one network under the name of another."""
    other = place.checkpoint_file(place.root / "other.safetensors", "fsmnet_released", features=8, blocks=1)
    with safe_open(place.checkpoint, framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(other), place.checkpoint, metadata)


def cut_off(place):
    place.checkpoint.write_bytes(place.checkpoint.read_bytes()[:100_000])


def a_text(place):
    place.checkpoint.write_text("weights\n" * 100)


def without_header(place):
    save_file(load_file(place.checkpoint), place.checkpoint)


def text_as_pth(place):
    place.checkpoint = place.root / "weights.pth"
    place.checkpoint.write_text("weights\n")


CHECKPOINTS = {
    of_another_model: "best.safetensors: not weights of fsmnet: missing ",
    cut_off: "best.safetensors: cut short, or not a safetensors checkpoint (",
    a_text: "best.safetensors: cut short, or not a safetensors checkpoint (",
    without_header: "best.safetensors: a safetensors file, but not a checkpoint of fsmnet",
    text_as_pth: "weights.pth: not a PyTorch checkpoint that can be read safely (",
}


@pytest.mark.parametrize("command", ["evaluate", "reconstruct"])
@pytest.mark.parametrize("damage", CHECKPOINTS, ids=lambda damage: damage.__name__)
def test_wrong_checkpoints(place, refuses, command, damage):
    damage(place)
    refuses(place.command(command), CHECKPOINTS[damage])


@pytest.mark.parametrize("command", ["train", "evaluate", "reconstruct", "mask", "demo"])
def test_output_folders_that_cannot_be(place, refuses, command, monkeypatch):
    arguments = place.command(command)
    if command == "mask":
        arguments = ["mask"]
    elif command == "demo":
        monkeypatch.setattr("fsmnet.cli.demo.SLICES", 1)
        arguments = ["demo", "--subjects", "1"]
    name = {"reconstruct": "result.nii.gz", "mask": "mask.npy"}.get(command, "run")
    file = place.root / "file"
    file.write_text("in the way")
    refuses([*arguments, "--out", str(file / name)], "choose another")
    if command == "demo":
        return
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    folder = place.root / "locked"
    folder.mkdir()
    out = folder if command in ("train", "evaluate") else folder / name
    refuses([*arguments, "--out", str(out)], "writable" if command != "reconstruct" else "written to")


@pytest.mark.parametrize("command", ["train", "evaluate", "reconstruct", "mask"])
def test_full_disk(place, capsys, command, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    arguments = ["mask", "--out", str(place.out / "mask.npy")] if command == "mask" else place.command(command)
    before = files_below(place.root)
    monkeypatch.setattr(os, "replace", full)
    assert main(arguments) == 2
    line = capsys.readouterr().err
    assert re.fullmatch(
        rf"fsmnet {command}: error: \S+: cannot be written \(no space left on device\); free .*\n", line
    )
    assert files_below(place.root) == before


def test_really_one_line(place):
    """As a user sees it: no warning, no traceback, no message of a library around the line."""
    cut_short(place)
    command = [sys.executable, "-m", "fsmnet", *place.command("reconstruct")]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    expected = (
        rf"fsmnet reconstruct: error: {re.escape(str(place.target))}: cut short or damaged \(.*\); copy it again\n"
    )
    assert re.fullmatch(expected, process.stderr)
