"""The same tasks in this process, in several, and on a cluster; what befalls one of them does not befall the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import psutil
import pytest

import fsmnet.inference.pool as pool_of_tasks
from fsmnet.errors import UserError
from fsmnet.inference.executor import executor_of
from fsmnet.inference.here import Here, in_turn
from fsmnet.inference.options import ListOptions
from fsmnet.inference.pool import Pool
from list_tasks import computed, kills, process, square, strict

TESTS = Path(__file__).resolve().parents[1]


def results(executor, task, items) -> dict[int, object]:
    """What each came to; an error as its kind and text."""
    found: dict[int, object] = {}

    def done(number: int, future: Future) -> None:
        assert number not in found
        error = future.exception()
        found[number] = future.result() if error is None else (type(error), str(error))

    executor.run(task, items, done)
    return found


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_in_this_process(ahead, caplog):
    caplog.set_level("INFO")
    here = Here(ahead)
    assert results(here, square, range(5)) == {0: 0, 1: 1, 2: 4, 3: 9, 4: 16}
    assert results(here, computed, range(5)) == {0: 0, 1: 1, 2: 4, 3: 9, 4: 16}
    assert results(here, strict, [0, 1, 2]) == {0: 0, 1: (UserError, "one is not for you"), 2: (KeyError, "'two'")}
    assert sorted(caplog.messages) == sorted([f"squared {n}" for n in (*range(5), 0)])
    assert results(here, square, []) == {}


def test_turns_are_in_the_order_of_the_list():
    second, turns = threading.Event(), []

    def task(number: int) -> int:
        if number == 0:
            second.wait()
        if number == 1:  # has no turn
            second.set()
            return 1
        in_turn(partial(turns.append, number))
        return number

    assert results(Here(2), task, range(5)) == {n: n for n in range(5)}
    assert turns == [0, 2, 3, 4]


def test_turns_are_the_main_threads_and_what_is_beside_is_not():
    main, seen = threading.get_ident(), []

    def task(number: int) -> int:
        seen.append((threading.get_ident() == main, in_turn(lambda: threading.get_ident() == main)))
        return number

    assert results(Here(2), task, range(4)) == {n: n for n in range(4)}
    assert seen == [(False, True)] * 4


@pytest.mark.parametrize("where", ["a turn", "done"])
def test_an_interruption_drops_what_waits_and_tells_what_is_done(where):
    began, told, interrupted = [], [], threading.Event()

    def interrupt() -> None:
        interrupted.set()
        raise KeyboardInterrupt

    def work(number: int) -> None:
        if where == "a turn" and number == 2:
            interrupt()

    def task(number: int) -> int:
        in_turn(partial(work, number))
        began.append(number)
        if number > 2:  # or a slow second thread lets the others come to the end of the list
            assert interrupted.wait(60)
        return number

    def done(number: int, future: Future) -> None:
        told.append(number)
        if where == "done" and number == 2:
            interrupt()

    with pytest.raises(KeyboardInterrupt):
        Here(2).run(task, range(50), done)
    assert sorted(told) == sorted(began)  # each once
    assert {0, 1} <= {*told} <= {0, 1, 2, 3, 4}


def test_several_processes(caplog, tmp_path):
    """They are as many as asked for, and what they say is said here; a mistake and an error stay what they are."""
    caplog.set_level("INFO")
    pool = Pool(2)
    assert results(pool, strict, [0, 1, 2, 3]) == {
        0: 0,
        1: (UserError, "one is not for you"),
        2: (KeyError, "'two'"),
        3: 9,
    }
    assert sorted(caplog.messages) == ["squared 0", "squared 3"]
    found = results(pool, process, range(6))
    assert len({*found.values()}) <= 2
    assert os.getpid() not in found.values()


@pytest.mark.parametrize(("times", "last"), [(1, 2), (2, (UserError, "the process that worked on it died twice"))])
def test_a_process_that_dies(tmp_path, times, last, caplog):
    found = results(Pool(2), partial(kills, folder=tmp_path, times=times), range(5))
    assert {number: found[number] for number in (0, 1, 3, 4)} == {0: 0, 1: 1, 3: 3, 4: 4}
    assert found[2] == last if times == 1 else (found[2][0] is last[0] and found[2][1].startswith(last[1]))
    assert "a process that worked on the list has died; what it had begun is done again" in caplog.messages


def test_between_tasks_a_signal_ends_a_process_as_it_is(tmp_path):
    """Raised there, it would be a task's error for the pool, whose end would wait for the process for ever."""
    handlers = {}

    def asked(number: int) -> object:
        handlers["within"] = signal.getsignal(signal.SIGTERM)
        return number

    before = signal.getsignal(signal.SIGTERM)
    try:
        assert pool_of_tasks._work(asked, 7).result == 7
        handlers["after"] = signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert handlers == {"within": pool_of_tasks._leave, "after": signal.SIG_DFL}


ENDED = """
import sys
from functools import partial
from pathlib import Path
from fsmnet.cli.terminal import answer_terminate
from fsmnet.inference.pool import Pool
from list_tasks import waits
if __name__ == "__main__":
    answer_terminate()
    Pool(2).run(partial(waits, folder=Path(sys.argv[1])), range(4), lambda *_: None)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_processes_go_with_the_first(tmp_path, how):
    """At once, with what they have begun cleaned up where they can; by SIGKILL they can not."""
    script, folder = tmp_path / "script.py", tmp_path / "marks"
    script.write_text(ENDED)
    folder.mkdir()
    path = os.pathsep.join([str(TESTS), *sys.path])
    first = subprocess.Popen(
        [sys.executable, script, folder], env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE
    )
    while len(marks := list(folder.iterdir())) < 2:
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    children = [psutil.Process(int(mark.name.split("-")[1])) for mark in marks]
    first.send_signal(how)
    first.communicate()
    _, alive = psutil.wait_procs(children, timeout=120)
    assert not alive
    if how == signal.SIGTERM:
        assert list(folder.iterdir()) == []


def test_a_script_without_its_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ENDED.replace('if __name__ == "__main__":\n    answer_terminate()\n    ', ""))
    path = os.pathsep.join([str(TESTS), *sys.path])
    done = subprocess.run(
        [sys.executable, script, tmp_path],
        env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "UserError: the processes for the list cannot be started; a Python script" in done.stderr


REFUSED = {
    "no process": ({"processes": 0}, "processes must be at least 1, not 0"),
    "too many": ({"processes": 1000}, "processes must be at most 32 on this machine, which has 3 cores, not 1000"),
    "too many of dask's": ({"cluster": "local:1000"}, "--cluster local:1000: processes must be at most 32 on this"),
    "both": ({"processes": 2, "cluster": "local:2"}, "--cluster local:2 has its own workers; leave --processes out"),
    "none": ({"cluster": "local"}, "--cluster local: give the number of processes, such as local:4"),
    "no number": ({"cluster": "local:0"}, "--cluster local:0: give the number of processes, such as local:4"),
    "nobody": ({"cluster": "tcp://127.0.0.1:9"}, r"--cluster tcp://127\.0\.0\.1:9: no scheduler answers there \("),
    "no address": ({"cluster": "nowhere://x"}, r"--cluster nowhere://x: no scheduler answers there \("),
    "no file": ({"cluster": "no.json"}, r"no\.json: no such file of a scheduler"),
    "no job": ({"cluster": "slurm"}, "--cluster slurm: cores and memory of a job are not known; set them under"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be(name, monkeypatch):
    options, message = REFUSED[name]
    monkeypatch.setattr("fsmnet.inference.elsewhere.cores", lambda: 3)
    if "cluster" in options:
        dask = pytest.importorskip("dask")
        pytest.importorskip("dask_jobqueue")
        monkeypatch.setitem(dask.config.config, "distributed", {
            **dask.config.config["distributed"], "comm": {
                **dask.config.config["distributed"]["comm"], "timeouts": {"connect": "1s", "tcp": "1s"}
            }
        })  # fmt: skip
    with pytest.raises(UserError, match=message), executor_of(ListOptions(**options)):
        pass


def test_without_the_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(UserError, match=r'needs the package distributed; pip install "fsmnet\[cluster\]"'),
        executor_of(ListOptions(cluster="local:2")),
    ):
        pass
