"""Read damaged files of one kind, in a process that may be ended: ``worker.py READER FIRST COUNT FOLDER``.

Writes one line of JSON for every file to FOLDER/progress, so that who waits sees which one hung.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import traceback
import warnings
from pathlib import Path

from fuzz.mutations import mutated
from fuzz.readers import READERS

MEMORY = 8 << 30  # address space; PyTorch alone takes 2 GiB of it


def work(name: str, first: int, count: int, folder: Path) -> None:
    from fsmnet.errors import UserError

    reader = READERS[name]
    (folder / "good").mkdir(parents=True, exist_ok=True)
    (folder / "bad").mkdir(exist_ok=True)
    samples = [(path.name, path.read_bytes()) for path in reader.samples(folder / "good")]
    for path, data in samples:  # undamaged, since a reader that refuses everything is no success
        (folder / "bad" / path).write_bytes(data)
        reader.read(folder / "bad" / path)
    with (folder / "progress").open("a", buffering=1) as progress:
        for seed in range(first, first + count):
            path, data = samples[seed % len(samples)]
            (folder / "bad" / path).write_bytes(mutated(data, seed))
            progress.write(json.dumps({"seed": seed}) + "\n")
            try:
                reader.read(folder / "bad" / path)
                outcome = {"outcome": "read"}
            except UserError as error:
                outcome = {"outcome": "refused", "words": str(error)[:300]}
                if "\n" in str(error).strip() or path.split(".")[0] not in str(error):
                    outcome["outcome"] = "unclear"
            except BaseException as error:
                last = traceback.extract_tb(error.__traceback__)[-6:]
                where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(last))
                outcome = {"outcome": "unexpected", "words": f"{type(error).__name__}: {str(error)[:200]} at {where}"}
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            progress.write(json.dumps({"seed": seed, "memory_mib": memory} | outcome) + "\n")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    logging.disable()
    work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
