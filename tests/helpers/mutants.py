"""Damage valid files in many ways and try to load them; `test_untrusted` runs this program.

    python mutants.py FILE FIRST LAST

reads mutations FIRST to LAST − 1 of FILE, a ``.keras`` or a ``.weights.h5`` file, with bounded
memory, and prints how many were refused and how many were loaded. Any other outcome ends the
program with an error.
"""

import contextlib
import faulthandler
import json
import pathlib
import random
import sys
from collections import Counter

import numpy as np
from networks import network

import tinynet
from tinynet.layers import Flatten

LONGEST = 60  # seconds for one file; long enough that only a hang exceeds it
MEMORY = 1 << 30  # bytes on top of what the program holds when it starts


def model(trained=True):
    tinynet.utils.set_random_seed(3)
    tinynet.utils.clear_session()
    made = network(Flatten(), (5, "relu"), (4,), inputs=(2, 3), loss="mse")
    rng = np.random.default_rng(0)
    for _ in range(1 + trained):
        made.fit(rng.normal(size=(8, 2, 3)), rng.normal(size=(8, 4)), verbose=0)
    return made


def state(model):
    return [*model.get_weights(), *model.optimizer.variables]


def equal(one, other):
    """Return whether these lists hold the same arrays, to the last bit."""
    ours, theirs = ([(a.dtype, a.shape, a.tobytes()) for a in arrays] for arrays in (one, other))
    return ours == theirs


def mutate(good, rng):
    """Return `good` with random damage to bits, bytes, whole blocks, or its length."""
    data, length = bytearray(good), rng.randrange(1, 200)
    (kind,) = rng.choices(["cut off", "longer", "shorter", "changed"], [10, 5, 5, 80])
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16]) if kind == "changed" else 1):
        place, source = rng.randrange(len(data)), rng.randrange(len(data))
        changes = [
            bytes([data[place] ^ 1 << rng.randrange(8)]),
            rng.randbytes(1),
            # extreme values for sizes, addresses and type codes
            bytes([rng.choice([0, 1, 127, 128, 255])]) * rng.choice([1, 2, 4, 8]),
            data[source : source + rng.randrange(1, 64)],
        ]
        (new,) = rng.choices(changes, [2, 1, 1, 1])
        ends = {"changed": place + len(new), "longer": place, "shorter": place + length}
        new = {"changed": new, "longer": rng.randbytes(length)}.get(kind, b"")
        data[place : ends.get(kind)] = new  # without an end, it is cut off
    return bytes(data)


def load(path, into):
    """Return the model in a `.keras` file, or `into` with the weights of a `.weights.h5` file."""
    if path.suffix == ".keras":
        return tinynet.models.load_model(path)
    return into.load_weights(path) or into


def outcome(path, good, into):
    """Load the file: a refused one must leave the model unchanged, and name the file.

    The checksums of a `.keras` file guarantee that a loaded model equals the saved one. The numbers
    of a `.weights.h5` file may differ, but must be finite.
    """
    before = state(into)
    try:
        loaded = load(path, into)
    except ValueError as error:
        if str(path) not in str(error):
            raise
        assert equal(state(into), before)
        return "refused"
    if equal(state(loaded), state(good)) and loaded.to_json() == good.to_json():
        return "loaded, and the same"
    assert path.suffix != ".keras"
    for now, then in zip(state(into), before, strict=True):
        assert (now.dtype, now.shape, np.isfinite(now).all()) == (then.dtype, then.shape, True)
    return "loaded, other numbers"


def limit_memory():
    """Limit the memory of this process where the system can."""
    with contextlib.suppress(ImportError, FileNotFoundError):
        import resource

        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(path, first, last):
    source = pathlib.Path(path)
    data, good, into = source.read_bytes(), load(source, model(False)), model(False)
    limit_memory()
    tally, target = Counter(), source.with_name(f"damaged.{source.name}")
    for number in range(int(first), int(last)):
        print(f"mutation {number}", file=sys.stderr)
        target.write_bytes(mutate(data, random.Random(number)))
        faulthandler.dump_traceback_later(LONGEST, exit=True)
        result = outcome(target, good, into)
        tally[result] += 1
        if result == "loaded, other numbers":
            load(source, into)
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(tally))


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(*sys.argv[1:])
