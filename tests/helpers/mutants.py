"""Damage valid files in many ways and try to load them; `test_untrusted` runs this program.

    python mutants.py FILE FIRST LAST

reads mutations FIRST to LAST − 1 of FILE, a ``.keras`` or a ``.weights.h5`` file, with bounded
memory, and prints how many were refused and how many were loaded. Any other outcome ends the
program with an error.
"""

import faulthandler
import json
import pathlib
import random
import sys
import tempfile
from collections import Counter

import numpy as np
from networks import network

import tinynet
from tinynet.layers import Flatten
from tinynet.saving import hdf5

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


def mutate(good, rng):
    """Return `good` with random damage to bits, bytes, whole blocks, or its length."""
    data = bytearray(good)
    kind = rng.random()
    if kind < 0.1:
        return bytes(data[: rng.randrange(len(data))])
    if kind < 0.15:
        start, length = rng.randrange(len(data)), rng.randrange(1, 200)
        return bytes(data[:start] + rng.randbytes(length) + data[start:])
    if kind < 0.2:
        start = rng.randrange(len(data))
        return bytes(data[:start] + data[start + rng.randrange(1, 200) :])
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        place, how = rng.randrange(len(data)), rng.random()
        if how < 0.4:
            data[place] ^= 1 << rng.randrange(8)
        elif how < 0.6:
            data[place] = rng.randrange(256)
        elif how < 0.8:  # extreme values for sizes, addresses and type codes
            length = rng.choice([1, 2, 4, 8])
            extreme = rng.choice([b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff"])
            data[place : place + length] = (extreme * length)[: len(data) - place]
        else:
            length = rng.randrange(1, 64)
            source = rng.randrange(len(data))
            data[place : place + length] = data[source : source + length]
    return bytes(data[: len(good)])


def state(model):
    return [*model.get_weights(), *model.optimizer.variables]


def equal(one, other):
    return len(one) == len(other) and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, other, strict=True)
    )


def refused(error, path):
    assert str(path) in str(error)
    return "refused"


def try_keras(path, good):
    """Load a `.keras` file: its checksums guarantee that a loaded model equals the saved one."""
    try:
        loaded = tinynet.models.load_model(path)
    except ValueError as error:
        return refused(error, path)
    assert loaded.to_json() == good.to_json()
    reference = tinynet.models.load_model(path.with_name("good.keras"))
    assert equal(state(loaded), state(reference))
    return "loaded, and the same"


def try_weights(path, good):
    """Load a `.weights.h5` file, which has no checksum: values may differ but must be finite.

    A refused file must leave the model unchanged.
    """
    into = try_weights.into
    before = state(into)
    try:
        into.load_weights(path)
    except ValueError as error:
        assert equal(state(into), before)
        return refused(error, path)
    for now, then in zip(state(into), before, strict=True):
        assert (now.dtype, now.shape) == (then.dtype, then.shape)
        assert np.isfinite(now).all()
    outcome = "loaded, and the same" if equal(state(into), state(good)) else "loaded, other numbers"
    into.load_weights(path.with_name("good.weights.h5"))
    return outcome


def limit_memory():
    try:
        import resource
    except ImportError:  # not available on Windows
        return
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(path, first, last):
    source = pathlib.Path(path)
    data, good = source.read_bytes(), model()
    attempt = try_keras if source.suffix == ".keras" else try_weights
    try_weights.into = model(trained=False)
    hdf5.h5py()
    if pathlib.Path("/proc/self/statm").exists():
        limit_memory()
    tally = Counter()
    with tempfile.TemporaryDirectory() as folder:
        suffix = ".keras" if source.suffix == ".keras" else ".weights.h5"
        reference = pathlib.Path(folder) / f"good{suffix}"
        reference.write_bytes(data)
        target = pathlib.Path(folder) / f"bad{suffix}"
        for number in range(int(first), int(last)):
            target.write_bytes(mutate(data, random.Random(number)))
            faulthandler.dump_traceback_later(LONGEST, exit=True)
            try:
                tally[attempt(target, good)] += 1
            except BaseException:
                print(f"mutation {number}", file=sys.stderr)
                raise
            faulthandler.cancel_dump_traceback_later()
    print(json.dumps(tally))


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(*sys.argv[1:])
