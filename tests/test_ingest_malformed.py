"""Malformed inputs: each is a clear error with file and cause, or a correct result; never a crash, a hang or a wrong number.

Some here; `make faults` tries ESD_MUTATIONS=500. The seed is in the message of whatever fails.
"""

from __future__ import annotations

import os
from pathlib import Path

from fault_world import CONTEXT, say
from malformed import summary, try_mutants

MUTATIONS = int(os.environ.get("ESD_MUTATIONS", "60"))
SEED = int(os.environ.get("ESD_SEED", "20261120"))
LONGEST = 60
"""Seconds that one mutant may take before it counts as hanging."""
SHARED = Path(os.environ.get("ESD_SHARED", Path(__file__).parent.parent.parent / "shared" / "data"))


def run(numbers: list[int], folder: Path) -> tuple[dict[int, tuple[str, str]], int | None]:
    """Try mutants in a process of their own; return the verdicts, and the number of the one that it did not survive."""
    ours, theirs = CONTEXT.Pipe()
    shared = SHARED if SHARED.is_dir() else None
    process = CONTEXT.Process(target=try_mutants, args=(numbers, SEED, folder, shared, theirs))
    process.start()
    theirs.close()
    verdicts: dict[int, tuple[str, str]] = {}
    current: int | None = -1
    try:
        while ours.poll(LONGEST):
            message = ours.recv()
            if message is None:
                current = None
                break
            current, verdict = message
            if verdict is not None:
                verdicts[current] = verdict
    except EOFError:
        pass
    finally:
        process.kill()
        process.join()
    return verdicts, current


def test_mutations_of_products_are_told_or_read_right(tmp_path: Path) -> None:
    verdicts, lost = run(list(range(MUTATIONS)), tmp_path)
    say(f"{len(verdicts)} malformed inputs: {summary(verdicts)}; seed {SEED}")
    assert lost is None, f"seed {SEED}: mutant {lost} crashes or hangs"
    assert len(verdicts) == MUTATIONS
    bad = {number: verdict for number, verdict in verdicts.items() if verdict[1] not in ("told", "right")}
    assert not bad, f"seed {SEED}: {bad}"
    assert len({kind for _, kind in verdicts.values()}) == 2
