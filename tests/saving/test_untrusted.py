"""Untrusted files, damaged or malicious: loading them raises an error and changes nothing."""

import contextlib
import functools
import io
import json
import subprocess
import sys
import tracemalloc
import zipfile
from collections import Counter

import h5py
import mutants
import numpy as np
import pytest

import tinynet
from tinynet.backend import generator
from tinynet.layers import Dense
from tinynet.models import load_model, model_from_json
from tinynet.saving import hdf5

METADATA, CONFIG, WEIGHTS = "metadata.json", "config.json", "model.weights.h5"


@pytest.mark.parametrize("count", [250, pytest.param(5000, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_damaged_files_are_refused_or_harmless(tmp_path, name, count):
    """No crash, no hang, no excessive memory, and no partly loaded model."""
    path, model = tmp_path / name, mutants.model()
    (model.save if name == "m.keras" else model.save_weights)(path)
    tally = Counter()
    for first in range(0, count, 1250):
        numbers = first, min(count, first + 1250)
        command = [sys.executable, mutants.__file__, path, *numbers]
        child = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert child.returncode == 0, child.stderr[-3000:]
        tally.update(json.loads(child.stdout))
    assert sum(tally.values()) == count
    assert tally["refused"] > count // 3
    assert tally["loaded, and the same"] > 0  # damage to a date or to bytes that are never read
    assert (tally["loaded, other numbers"] > 0) == (name == "m.weights.h5")


@contextlib.contextmanager
def refused(words, size=50_000_000):
    """Assert that loading is refused, takes less than `size` bytes of memory and has no effect."""
    tinynet.utils.clear_session()
    before = generator().bit_generator.state
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=words):
            yield
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < size
    assert generator().bit_generator.state == before
    assert Dense(3).name == "dense"


@functools.cache
def parts():
    """Return the parts of a valid ``.keras`` file."""
    model = mutants.model()
    weights = hdf5.to_hdf5(model)
    return {METADATA: b'{"keras_version": "3.15.1"}', CONFIG: model.to_json(), WEIGHTS: weights}


def archive(folder, changes=(), **options):
    """Write a ``.keras`` file with other parts than the valid ones (None is left out)."""
    path = folder / "bad.keras"
    with zipfile.ZipFile(path, "w", **options) as file:
        for part, content in {**parts(), **dict(changes)}.items():
            if content is not None:
                file.writestr(part, content)
    return path


# Weights

VARS, KERNEL, SLOT = "layers/dense/vars", "layers/dense/vars/0", "optimizer/vars/2"
OUTSIDE = "chunked, compressed or external"
RANDOM = np.random.default_rng(0).normal(size=(6, 5)).astype("f4")


def weights(change):
    """Return the bytes of the model's HDF5 file after `change(file)`."""
    memory = io.BytesIO(parts()[WEIGHTS])
    with h5py.File(memory, "r+") as file:
        change(file)
    return memory.getvalue()


def dataset(place=KERNEL, **made):
    return lambda file: (file.pop(place), file.create_dataset(place, **made))


def linked(place, *link):
    kind = h5py.ExternalLink if len(link) == 2 else h5py.SoftLink
    return lambda file: (file.pop(place), file.__setitem__(place, kind(*link)))


def to_group(file):
    del file[KERNEL]
    file.create_group(KERNEL)


def added(file):
    file["layers/dense_2/vars/0"] = 1.0


def virtual(file):
    layout = h5py.VirtualLayout((6, 5), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "a", (6, 5))
    del file[KERNEL]
    file.create_virtual_dataset(KERNEL, layout)


def unallocated(file):
    """Replace the kernel by a dataset whose storage is not allocated until it is written."""
    del file[KERNEL]
    space = h5py.h5s.create_simple((6, 5))
    h5py.h5d.create(file.id, KERNEL.encode(), h5py.h5t.NATIVE_FLOAT, space)


EXTERNAL = {"shape": (6, 5), "dtype": "f4", "external": [("elsewhere.bin", 0, 120)]}
BAD_WEIGHTS = {
    "an empty file": (lambda f: f.clear(), "it has no layers/dense/vars"),
    "a layer is missing": (lambda f: f["layers"].pop("dense_1"), "it has no layers/dense_1/vars"),
    "a weight is missing": (lambda f: f[VARS].pop("1"), r"has arrays of shapes \[\("),
    "a gap in the numbering": (lambda f: f[VARS].move("0", "2"), f"it has no {KERNEL}"),
    "another shape": (dataset(data=RANDOM.T), r"\[\(5, 6\), \(5,\)\], but layer 'dense'"),
    "far too large": (dataset(data=np.zeros((600, 5), "f4")), r"\(600, 5\)"),
    "integers": (dataset(data=np.ones((6, 5), int)), "holds int64, not floats"),
    "strings": (dataset(data=[[b"x"] * 5] * 6), f"{OUTSIDE}|not floats"),
    "objects": (dataset(shape=(6, 5), dtype=h5py.vlen_dtype("f4")), f"{OUTSIDE}|not floats"),
    "structured values": (dataset(data=np.zeros((6, 5), "f4,f4")), "not floats"),
    "NaN": (dataset(data=RANDOM * np.nan), f"{KERNEL} holds NaN or infinity"),
    "too large for float32": (dataset(data=np.full((6, 5), 1e300)), "holds NaN or infinity"),
    "NaN in the optimizer": (dataset(SLOT, data=RANDOM * np.nan), f"{SLOT} holds NaN or infinity"),
    "negative steps": (dataset("optimizer/vars/0", data=np.int32(-1)), "number of steps is inv"),
    "compressed": (dataset(data=RANDOM, compression="gzip"), OUTSIDE),
    "chunked": (dataset(data=RANDOM, chunks=(2, 5)), OUTSIDE),
    "not allocated": (unallocated, OUTSIDE),
    "stored in another file": (dataset(**EXTERNAL), OUTSIDE),
    "a virtual dataset": (virtual, OUTSIDE),
    "an external link": (linked(KERNEL, "elsewhere.h5", "/a"), f"it has no {KERNEL}"),
    "a soft link": (linked(KERNEL, "/layers/dense_1/vars/0"), f"it has no {KERNEL}"),
    "a group in another file": (linked("layers/dense", "x.h5", "/"), "a link, which is not follo"),
    "an array instead of a group": (dataset("layers/dense", data=1.0), "is not a group"),
    "a group instead of an array": (to_group, f"{KERNEL} is not an array"),
    "an additional layer": (added, "weights of an additional layer, dense_2"),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_invalid_weights_are_refused_with_the_reason(tmp_path, kind):
    change, words = BAD_WEIGHTS[kind]
    model, path = mutants.model(), tmp_path / "bad.weights.h5"
    before = mutants.state(model)
    path.write_bytes(weights(change))
    with refused(rf"received .*bad\.weights\.h5: .*({words}).*Nothing was"):
        model.load_weights(path)
    assert mutants.equal(mutants.state(model), before)
    whole = archive(tmp_path, {WEIGHTS: path.read_bytes()})
    with refused(words):
        load_model(whole)


def test_a_file_far_too_large_is_not_read(tmp_path):
    model, path = mutants.model(), tmp_path / "m.weights.h5"
    path.write_bytes(parts()[WEIGHTS] + bytes(20_000_000))  # trailing zeros, which HDF5 ignores
    with refused(r"20,0\d\d,\d+ bytes, far too many for this model", size=1_000_000):
        model.load_weights(path)


@pytest.mark.parametrize("dtype", ["f8", ">f4", "f2"])
def test_files_of_other_float_types_load_as_in_keras(tmp_path, dtype):
    model, path = mutants.model(trained=False), tmp_path / "m.weights.h5"
    expected = mutants.model().get_weights()[0]
    path.write_bytes(weights(dataset(data=expected.astype(dtype))))
    model.load_weights(path)
    assert model.get_weights()[0].dtype == "float32"
    assert np.allclose(model.get_weights()[0], expected, atol=1e-3)


# Configurations


def part(kind, **settings):
    return {"module": "os", "class_name": kind, "config": {"name": "f", **settings}}


SHAPE, LAYER, COMPILED = "config/layers/0/config/batch_shape", "config/layers/2", "compile_config"
EVAL = {"class_name": "function", "config": "eval"}
BAD_CONFIGS = {  # the place of a change in a valid configuration, or None for all of it
    "invalid JSON": (None, "{", "Expecting property name"),
    "a list": (None, "[]", "expected an object"),
    "deeply nested": (None, "[" * 100_000, "recursion|nested|deep"),
    "not a model": (None, '{"class_name": "Dense"}', "Expected a Sequential model"),
    "no configuration": (None, '{"class_name": "Sequential"}', "be understood .*'config'"),
    "invalid layers": ("config/layers", 3, "cannot be understood|has no"),
    "very many layers": ("config/layers", [part("Dropout", rate=0)] * 20_000, "has 20,000 layers"),
    "a string as a layer": (LAYER, "os.system", "cannot be understood"),
    "a lambda": (LAYER, part("Lambda", function="x"), r"received Lambda \('f'\)"),
    "a class from Python's library": (LAYER, part("system"), r"received system \('f'\)"),
    "a builtin function as activation": (f"{LAYER}/config/activation", EVAL, "identifier: eval"),
    "an unknown argument": (f"{LAYER}/config/x", 1, "Unrecognized keyword"),
    "invalid units": (f"{LAYER}/config/units", "many", "expected a positive integer"),
    "far too many units": (f"{LAYER}/config/units", 10**9, "'dense', whose kernel"),
    "a far too large input": (SHAPE, [None, 10**9, 10**9], "whose kernel of shape .* is too large"),
    "other shapes": (f"{LAYER}/config/units", 6, r"layer 'dense' expects .*belongs to another mod"),
    "an invalid shape": (SHAPE, ["a", {}], "batch_shape"),
    "a duplicate name": (f"{LAYER}/config/name", "flatten", "unique names"),
    "a name with a path": (f"{LAYER}/config/name", "../x", "cannot contain charac"),
    "a rate of NaN": (f"{COMPILED}/optimizer/config/learning_rate", np.nan, "learning_rate"),
    "a builtin function as loss": (f"{COMPILED}/loss", "eval", "loss identifier: eval"),
    "an unknown optimizer": (f"{COMPILED}/optimizer/class_name", "Ftrl", "identifier: Ftrl"),
    "invalid metrics": (f"{COMPILED}/metrics", 7, "compile=False"),
    "a number as compile_config": (COMPILED, 7, "cannot be understood"),
    "weighted metrics": (f"{COMPILED}/weighted_metrics", ["acc"], "supports, but tin"),
}


@pytest.mark.parametrize("kind", BAD_CONFIGS)
def test_invalid_configurations_are_refused_with_the_reason(tmp_path, kind):
    place, config, words = BAD_CONFIGS[kind]
    if place is not None:
        whole = json.loads(parts()[CONFIG])
        *way, last = [int(key) if key.isdigit() else key for key in place.split("/")]
        functools.reduce(lambda inside, key: inside[key], way, whole)[last] = config
        config = json.dumps(whole)
    path = archive(tmp_path, {CONFIG: config})
    with refused(words):  # in 50 MB; a kernel of a billion units would take 24 GB
        load_model(path)
    if kind not in ("far too many units", "a far too large input", "other shapes"):
        with pytest.raises(ValueError, match=words):
            model_from_json(config)


# Archives

VERSION = '{"keras_version": %s}'
NO_ZIP, OTHER = r"received .*bad\.keras: .*not a zip file", "Expected a file of Keras 3.*"
BAD_ARCHIVES = {  # the whole file, or changes to its parts
    "no bytes": (b"", NO_ZIP),
    "a signature alone": (b"PK\x03\x04", NO_ZIP),
    "text": (b"some text", NO_ZIP),
    "weights": (b"\x89HDF\r\n\x1a\n" + bytes(2000), NO_ZIP),
    "no configuration": ({CONFIG: None}, "it has no config.json"),
    "no weights": ({WEIGHTS: None}, "it has no model.weights.h5"),
    "Keras 2": ({METADATA: VERSION % '"2.15.0"'}, OTHER + "Keras '2.15.0'"),
    "Keras 4": ({METADATA: VERSION % '"4.0"'}, OTHER + "'4.0'"),
    "a number as the version": ({METADATA: VERSION % 7}, OTHER + "Keras 7"),
}


@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_invalid_archives_are_refused_with_the_reason(tmp_path, kind):
    content, words = BAD_ARCHIVES[kind]
    path = archive(tmp_path, content if isinstance(content, dict) else ())
    if isinstance(content, bytes):
        path.write_bytes(content)
    with refused(words):
        load_model(path)


def test_a_part_that_is_there_twice_is_refused(tmp_path):
    path = archive(tmp_path)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr(CONFIG, "{}")
    with refused("it has a part twice"):
        load_model(path)


@pytest.mark.parametrize("kind", ["DEFLATED", "BZIP2", "LZMA"])
@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_zip_bomb_is_not_unpacked(tmp_path, kind, name):
    """A part has 20 MB, and is declared to have them, or only 1000 bytes."""
    size = 20_000_000
    path = archive(tmp_path, {name: bytes(size)}, compression=getattr(zipfile, f"ZIP_{kind}"))
    with refused(r"it would take 20,0\d\d,\d+ bytes, far too many", size=1_000_000):
        load_model(path)
    data, length = path.read_bytes(), size.to_bytes(4, "little")
    assert data.count(length) == 2
    path.write_bytes(data.replace(length, (1000).to_bytes(4, "little")))
    del data
    with refused(r"(Bad CRC-32|packed as Keras never does).*Nothing was loaded", size=5_000_000):
        load_model(path)


def test_many_links_to_one_array_do_not_fill_the_memory(tmp_path):
    """300 layers share one array in the file as their kernel: 1.2 GB of weights in 4 MB."""
    dense = [part("Dense", name=f"d{n}", units=1000, use_bias=False) for n in range(300)]
    stack = {"layers": dense, "build_input_shape": [None, 1000]}
    config = {"class_name": "Sequential", "config": stack}
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        kernel = file.create_dataset("layers/dense/vars/0", data=np.ones((1000, 1000), "f4"))
        for number in range(1, 300):
            file[f"layers/dense_{number}/vars/0"] = kernel
    path = archive(tmp_path, {CONFIG: json.dumps(config), WEIGHTS: memory.getvalue()})
    with refused("its arrays have more bytes than the file", size=60_000_000):
        load_model(path)


def test_parts_are_read_by_name_and_never_extracted_to_disk(tmp_path, monkeypatch):
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    names = ("../out.txt", "/tmp/out.txt", "assets/../../out.txt", "C:\\out.txt")
    load_model(archive(tmp_path, dict.fromkeys(names, "out")))
    assert sorted(x.name for x in tmp_path.iterdir()) == ["bad.keras", "empty"]
    assert not list(folder.iterdir())


def test_compressed_archives_and_missing_metadata_are_accepted_as_in_keras(tmp_path):
    packed = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 9}
    model = load_model(archive(tmp_path, {METADATA: None}, **packed))
    assert mutants.equal(model.get_weights(), mutants.model().get_weights())
