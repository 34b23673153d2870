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
    command = [sys.executable, mutants.__file__, str(path), "0", str(count)]
    child = subprocess.run(command, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr[-3000:]
    tally = Counter(json.loads(child.stdout))
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
    with contextlib.ExitStack() as stack:
        stack.callback(tracemalloc.stop)
        with pytest.raises(ValueError, match=words):
            yield
        assert tracemalloc.get_traced_memory()[1] < size
    assert generator().bit_generator.state == before
    assert Dense(3).name == "dense"


@functools.cache
def parts():
    """Return the parts of a valid ``.keras`` file."""
    model, metadata = mutants.model(), '{"keras_version": "3.15.1"}'
    return {METADATA: metadata, CONFIG: model.to_json(), WEIGHTS: hdf5.to_hdf5(model)}


def archive(folder, changes=(), **options):
    """Write a ``.keras`` file with other parts than the valid ones (None is left out)."""
    path = folder / "bad.keras"
    with zipfile.ZipFile(path, "w", **options) as file:
        for part, content in {**parts(), **dict(changes)}.items():
            if content is not None:
                file.writestr(part, content)
    return path


# Weights

KERNEL, SLOT = "layers/dense/vars/0", "optimizer/vars/2"
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


EMPTY = {"shape": (6, 5), "dtype": "f4"}  # its storage is not allocated until it is written
BAD_WEIGHTS = {
    "a layer is missing": (lambda f: f["layers"].pop("dense_1"), "it has no layers/dense_1/vars"),
    "a weight is missing": (lambda f: f.pop("layers/dense/vars/1"), r"arrays of shapes \[\("),
    "another shape": (dataset(data=RANDOM.T), r"\[\(5, 6\), \(5,\)\], but layer 'dense'"),
    "integers": (dataset(data=np.ones((6, 5), int)), "holds int64, not floats"),
    "too large for float32": (dataset(data=np.full((6, 5), 1e300)), f"{KERNEL} holds NaN or inf"),
    "NaN in the optimizer": (dataset(SLOT, data=RANDOM * np.nan), f"{SLOT} holds NaN or infinity"),
    "negative steps": (dataset("optimizer/vars/0", data=np.int32(-1)), "number of steps is inv"),
    "chunked": (dataset(data=RANDOM, chunks=(2, 5)), OUTSIDE),
    "not allocated": (dataset(**EMPTY), OUTSIDE),
    "stored in another file": (dataset(**EMPTY, external=[("x.bin", 0, 120)]), OUTSIDE),
    "a soft link": (linked(KERNEL, "/layers/dense_1/vars/0"), f"it has no {KERNEL}"),
    "a group in another file": (linked("layers/dense", "x.h5", "/"), "a link, which is not follo"),
    "an array instead of a group": (dataset("layers/dense", data=1.0), "is not a group"),
    "a group instead of an array": (
        lambda f: (f.pop(KERNEL), f.create_group(KERNEL)),
        "is not an array",
    ),
    "an additional layer": (lambda f: f.copy("layers/dense", "layers/dense_2"), "layer, dense_2"),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_invalid_weights_are_refused_with_the_reason(tmp_path, kind):
    change, words = BAD_WEIGHTS[kind]
    model, path = mutants.model(trained=False), tmp_path / "bad.weights.h5"
    before = mutants.state(model)  # other numbers than in the file
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
    path.write_bytes(weights(dataset(data=RANDOM.astype(dtype))))
    model.load_weights(path)
    assert model.get_weights()[0].dtype == "float32"
    assert np.allclose(model.get_weights()[0], RANDOM, atol=1e-3)


# Configurations


def part(kind, **settings):
    return {"module": "os", "class_name": kind, "config": {"name": "f", **settings}}


LAYERS, COMPILED = f"{CONFIG}/config/layers", f"{CONFIG}/compile_config"
LAYER = f"{LAYERS}/2"
EVAL = {"class_name": "function", "config": "eval"}
VERSION = '{"keras_version": %s}'
NO_ZIP, OTHER = r"received .*bad\.keras: .*not a zip file", "Expected a file of Keras 3.*"
BAD_FILES = {  # a place: "bad.keras", a part of it, or a path within its configuration
    "invalid JSON": (CONFIG, "{", "Expecting property name"),
    "a list": (CONFIG, "[]", "expected an object"),
    "deeply nested": (CONFIG, "[" * 100_000, "recursion|nested|deep"),
    "not a model": (CONFIG, '{"class_name": "Dense"}', "Expected a Sequential model, .*'Dense'"),
    "very many layers": (LAYERS, [part("Dropout", rate=0)] * 20_000, "has 20,000 layers"),
    "a string as a layer": (LAYER, "os.system", "cannot be understood"),
    "a builtin function as activation": (
        f"{LAYER}/config/activation",
        EVAL,
        "your own activation function 'eval'",
    ),
    "far too many units": (f"{LAYER}/config/units", 10**9, "'dense', whose kernel"),
    "other shapes": (f"{LAYER}/config/units", 6, r"layer 'dense' expects .*belongs to another mod"),
    "a number as compile_config": (COMPILED, 7, "cannot be understood"),
    "weighted metrics": (f"{COMPILED}/weighted_metrics", ["acc"], "supports, but tin"),
    "weights": ("bad.keras", b"\x89HDF\r\n\x1a\n" + bytes(2000), NO_ZIP),
    "no configuration at all": (CONFIG, None, "it has no config.json"),
    "no weights": (WEIGHTS, None, "it has no model.weights.h5"),
    "Keras 2": (METADATA, VERSION % '"2.15.0"', OTHER + "Keras '2.15.0'"),
    "Keras 4": (METADATA, VERSION % '"4.0"', OTHER + "'4.0'"),
    "a number as the version": (METADATA, VERSION % 7, OTHER + "Keras 7"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_invalid_files_are_refused_with_the_reason(tmp_path, kind):
    place, content, words = BAD_FILES[kind]
    name, *way = [int(key) if key.isdigit() else key for key in place.split("/")]
    if way:
        whole = json.loads(parts()[CONFIG])
        functools.reduce(lambda inside, key: inside[key], way[:-1], whole)[way[-1]] = content
        content = json.dumps(whole)
    path = archive(tmp_path, {name: content})
    if name == path.name:
        path.write_bytes(content)
    with refused(words):  # in 50 MB; a kernel of a billion units would take 24 GB
        load_model(path)
    if name == CONFIG and content and kind not in ("far too many units", "other shapes"):
        with pytest.raises(ValueError, match=words):
            model_from_json(content)


# Archives


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


@pytest.mark.parametrize(
    ("count", "words"), [(2, "its arrays have more bytes than the file"), (300, "too large for it")]
)
def test_many_links_to_one_array_do_not_fill_the_memory(tmp_path, count, words):
    """2 or 300 layers share one array in the file as their kernel: up to 1.2 GB in 4 MB."""
    dense = [part("Dense", name=f"d{n}", units=1000, use_bias=False) for n in range(count)]
    config = {"layers": dense, "build_input_shape": [None, 1000]}
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        kernel = file.create_dataset("layers/dense/vars/0", data=np.ones((1000, 1000), "f4"))
        for number in range(1, count):
            file[f"layers/dense_{number}/vars/0"] = kernel
    whole = json.dumps({"class_name": "Sequential", "config": config})
    path = archive(tmp_path, {CONFIG: whole, WEIGHTS: memory.getvalue()})
    with refused(words, size=60_000_000):
        load_model(path)


def test_compression_and_other_parts_are_accepted_as_in_keras_and_never_extracted(
    tmp_path, monkeypatch
):
    """Nor is the version needed."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    names = ("../out.txt", "/tmp/out.txt", "assets/../../out.txt", "C:\\out.txt")
    packed = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 9}
    model = load_model(archive(tmp_path, {METADATA: None, **dict.fromkeys(names, "out")}, **packed))
    assert mutants.equal(model.get_weights(), mutants.model().get_weights())
    assert sorted(x.name for x in tmp_path.rglob("*")) == ["bad.keras", "empty"]
