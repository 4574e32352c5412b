"""What a comparison left is read back, or refused with the file's name and what to do."""

from __future__ import annotations

import pytest

from fsmnet.errors import UserError
from fsmnet.evaluation.kept import read_definition, read_done, read_scores, read_summary


@pytest.fixture
def method(tmp_path):
    (tmp_path / "scores").mkdir()
    (tmp_path / "done.json").write_text('{"steps": 5, "minutes": 1}')
    (tmp_path / "scores" / "summary.json").write_text('[{"contents": {"a": "0f"}, "psnr": null}]')
    (tmp_path / "scores" / "metrics.csv").write_text("case,psnr,head_psnr\n'=a,30.5,\n")
    return tmp_path


def test_what_is_whole(method):
    assert read_done(method) == {"steps": 5, "minutes": 1.0}
    assert read_done(method / "scores") is None
    assert read_summary(method / "scores") == {"contents": {"a": "0f"}, "seen_in_training": {}}
    rows = read_scores(method / "scores", ("psnr", "ssim", "head_psnr"))
    assert rows == [{"case": "=a", "psnr": "30.5", "head_psnr": ""}]


READERS = {
    "done.json": read_done,
    "scores/summary.json": lambda method: read_summary(method / "scores"),
    "scores/metrics.csv": lambda method: read_scores(method / "scores", ("psnr",)),
    "compare.yaml": lambda method: read_definition(method / "compare.yaml"),
}


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("done.json", ["", "[]", '{"steps": null, "minutes": 1}', '{"steps": 1e999, "minutes": 1}', "\0"]),
        ("scores/summary.json", ["", "[]", "{}", "[3]", '[{"contents": [1]}]', '[{"seen_in_training": {"train": 1}}]']),
        ("scores/metrics.csv", ["psnr\n1\n", "case,psnr\na,x\n", "case,psnr\na\n", "case,psnr\na,1,2\n", 'case\n"a\n']),
        ("compare.yaml", ["- 1", "a: [", "", "a: *b"]),
    ],
)
def test_what_is_damaged(method, name, texts):
    for text in texts:
        (method / name).write_text(text)
        with pytest.raises(UserError, match=rf"{name}: damaged \(.*\); (remove|put it back)") as caught:
            READERS[name](method)
        assert "\n" not in str(caught.value)


def test_what_is_gone(method):
    (method / "scores" / "metrics.csv").unlink()
    with pytest.raises(UserError, match=r"metrics.csv: is gone; remove .*done.json, and the method is scored again"):
        read_scores(method / "scores", ("psnr",))
