"""Untrusted files, damaged or malicious: loading them raises an error and changes nothing."""

import contextlib
import io
import json
import pathlib
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
from tinynet.layers import Dense
from tinynet.saving import hdf5
from tinynet.utils import files

COUNT, AT_ONCE = 5000, 1250  # mutations per kind of file, and per process


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder with one model saved as both kinds of file."""
    folder = tmp_path_factory.mktemp("good")
    model = mutants.model()
    model.save(folder / "m.keras")
    model.save_weights(folder / "m.weights.h5")
    return folder


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_damaged_files_are_refused_or_harmless(good, name):
    """No crash, no hang, no excessive memory, and no partly loaded model."""
    tally = Counter()
    for first in range(0, COUNT, AT_ONCE):
        command = [sys.executable, mutants.__file__, good / name, str(first), str(first + AT_ONCE)]
        child = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        assert child.returncode == 0, child.stderr[-3000:]
        tally.update(json.loads(child.stdout))
    print(f"{name}: {dict(tally)}")
    assert sum(tally.values()) == COUNT
    assert tally["refused"] > COUNT // 3
    assert tally["loaded, and the same"] > 0  # damage to a date or to bytes that are never read
    if name == "m.keras":
        assert tally["loaded, other numbers"] == 0


@contextlib.contextmanager
def memory_below(size):
    """Assert that the peak of memory in a ``with`` block stays below `size` bytes."""
    tracemalloc.start()
    try:
        yield
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < size


def weights(change=None):
    """Return the bytes of the model's HDF5 file after `change(file)`."""
    memory = io.BytesIO(hdf5.to_hdf5(mutants.model()))
    if change is not None:
        with h5py.File(memory, "r+") as file:
            change(file)
    return memory.getvalue()


def replaced(place, **made):
    def change(file):
        del file[place]
        file.create_dataset(place, **made)

    return change


def linked(place, link):
    def change(file):
        del file[place]
        file[place] = link

    return change


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


KERNEL = "layers/dense/vars/0"
RANDOM = np.random.default_rng(0).normal(size=(6, 5)).astype("f4")
BAD_WEIGHTS = {
    "an empty file": (lambda file: file.clear(), "it has no layers/dense/vars"),
    "a layer is missing": (lambda f: f["layers"].pop("dense_1"), "it has no layers/dense_1/vars"),
    "a weight is missing": (
        lambda f: f["layers/dense/vars"].pop("1"),
        r"has arrays of shapes \[\(",
    ),
    "a gap in the numbering": (
        lambda f: f["layers/dense/vars"].move("0", "2"),
        f"it has no {KERNEL}",
    ),
    "another shape": (replaced(KERNEL, data=RANDOM.T), r"\[\(5, 6\), \(5,\)\], but layer 'dense'"),
    "far too large": (replaced(KERNEL, data=np.zeros((600, 5), "f4")), r"\(600, 5\)"),
    "integers": (replaced(KERNEL, data=np.ones((6, 5), int)), "holds int64, not floats"),
    "strings": (
        replaced(KERNEL, data=[[b"x"] * 5] * 6),
        "chunked, compressed or external|not floats",
    ),
    "objects": (
        replaced(KERNEL, shape=(6, 5), dtype=h5py.vlen_dtype("f4")),
        r"chunked, compressed or external|holds object, not floats",
    ),
    "structured values": (replaced(KERNEL, data=np.zeros((6, 5), "f4,f4")), "not floats"),
    "NaN": (replaced(KERNEL, data=RANDOM * np.nan), "layers/dense/vars/0 holds NaN or infinity"),
    "too large for float32": (replaced(KERNEL, data=np.full((6, 5), 1e300)), "holds NaN or inf"),
    "NaN in the optimizer": (
        lambda f: f["optimizer/vars/2"].write_direct(np.full((6, 5), np.nan, "f4")),
        "optimizer/vars/2 holds NaN or infinity",
    ),
    "a negative number of steps": (
        replaced("optimizer/vars/0", data=np.int32(-1)),
        "number of steps is invalid",
    ),
    "compressed": (
        replaced(KERNEL, data=RANDOM, compression="gzip"),
        "chunked, compressed or external",
    ),
    "chunked": (replaced(KERNEL, data=RANDOM, chunks=(2, 5)), "chunked, compressed or external"),
    "not allocated": (unallocated, "chunked, compressed or external"),
    "stored in another file": (
        replaced(KERNEL, shape=(6, 5), dtype="f4", external=[("elsewhere.bin", 0, 120)]),
        "chunked, compressed or external",
    ),
    "a virtual dataset": (virtual, "chunked, compressed or external"),
    "an external link": (
        linked(KERNEL, h5py.ExternalLink("elsewhere.h5", "/a")),
        f"it has no {KERNEL}",
    ),
    "a soft link": (linked(KERNEL, h5py.SoftLink("/layers/dense_1/vars/0")), "it has no"),
    "a group in another file": (
        linked("layers/dense", h5py.ExternalLink("elsewhere.h5", "/")),
        "contains a link, which is not followed",
    ),
    "an array instead of a group": (replaced("layers/dense", data=1.0), "is not a group"),
    "a group instead of an array": (
        lambda f: (f.pop(KERNEL), f.create_group(KERNEL)),
        f"{KERNEL} is not an array",
    ),
    "an additional layer": (
        lambda f: f.create_dataset("layers/dense_2/vars/0", data=1.0),
        "weights of an additional layer, dense_2",
    ),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_invalid_weights_are_refused_with_the_reason(tmp_path, kind):
    change, words = BAD_WEIGHTS[kind]
    data = weights(change)
    model, path = mutants.model(), tmp_path / "bad.weights.h5"
    before = mutants.state(model)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"received .*bad\.weights\.h5: .*({words}).*Nothing was"):
        model.load_weights(path)
    assert mutants.equal(mutants.state(model), before)
    whole = archive(tmp_path, weights=data)
    with pytest.raises(ValueError, match=words):
        tinynet.models.load_model(whole)


def archive(folder, name="bad.keras", config=None, weights=None, metadata=None, **options):
    """Write a ``.keras`` file in which these parts replace the valid ones, and return its path."""
    model = mutants.model()
    parts = {
        "metadata.json": metadata or '{"keras_version": "3.15.1"}',
        "config.json": config or model.to_json(),
        "model.weights.h5": weights or hdf5.to_hdf5(model),
    }
    path = folder / name
    with zipfile.ZipFile(path, "w", **options) as file:
        for part, content in parts.items():
            file.writestr(part, content)
    return path


def changed(*way, to):
    """Return the model's configuration as JSON with the entry at the path `way` set to `to`."""
    config = json.loads(mutants.model().to_json())
    place = config
    for step in way[:-1]:
        place = place[step]
    place[way[-1]] = to
    return json.dumps(config)


LAYER = ("config", "layers", 2)
BAD_CONFIGS = {
    "invalid JSON": ("{", "Expecting property name"),
    "a list": ("[]", "expected an object"),
    "deeply nested": ("[" * 100_000, "recursion|nested|deep"),
    "not a model": ('{"class_name": "Dense"}', "Expected a Sequential model"),
    "no configuration": ('{"class_name": "Sequential"}', "cannot be understood .*'config'"),
    "invalid layers": (changed("config", "layers", to=3), "cannot be understood|has no"),
    "a string as a layer": (changed("config", "layers", 2, to="os.system"), "cannot be understood"),
    "a lambda": (
        changed(*LAYER, to={"class_name": "Lambda", "config": {"name": "f", "function": "x"}}),
        r"received Lambda \('f'\)",
    ),
    "a class from Python's library": (
        changed(*LAYER, to={"module": "os", "class_name": "system", "config": {"name": "f"}}),
        r"received system \('f'\)",
    ),
    "a builtin function as activation": (
        changed(*LAYER, "config", "activation", to={"class_name": "function", "config": "eval"}),
        "activation function identifier: eval",
    ),
    "an unknown argument": (changed(*LAYER, "config", "x", to=1), "Unrecognized keyword"),
    "invalid units": (changed(*LAYER, "config", "units", to="many"), "expected a positive integer"),
    "far too many units": (
        changed(*LAYER, "config", "units", to=10**9),
        "'dense', whose kernel",
    ),
    "a far too large input": (
        changed("config", "layers", 0, "config", "batch_shape", to=[None, 10**9, 10**9]),
        r"whose kernel of shape .* is too large for it",
    ),
    "other shapes": (changed(*LAYER, "config", "units", to=6), r"layer 'dense' expects \[\(6, 6\)"),
    "an invalid shape": (
        changed("config", "layers", 0, "config", "batch_shape", to=["a", {}]),
        "batch_shape",
    ),
    "a duplicate name": (changed(*LAYER, "config", "name", to="flatten"), "unique names"),
    "a name with a path": (changed(*LAYER, "config", "name", to="../x"), "cannot contain charac"),
    "a learning rate of NaN": (
        changed("compile_config", "optimizer", "config", "learning_rate", to=float("nan")),
        "learning_rate",
    ),
    "a builtin function as loss": (
        changed("compile_config", "loss", to="eval"),
        "loss identifier: eval",
    ),
    "an unknown optimizer": (
        changed("compile_config", "optimizer", "class_name", to="Ftrl"),
        "optimizer identifier: Ftrl",
    ),
    "invalid metrics": (changed("compile_config", "metrics", to=7), "compile=False"),
    "a number as compile_config": (changed("compile_config", to=7), "cannot be understood"),
    "weighted metrics": (
        changed("compile_config", "weighted_metrics", to=["acc"]),
        "supports, but tin",
    ),
}


@pytest.mark.parametrize("kind", BAD_CONFIGS)
def test_invalid_configurations_are_refused_with_the_reason(tmp_path, kind):
    config, words = BAD_CONFIGS[kind]
    path = archive(tmp_path, config=config)
    # bytes; a kernel of a billion units would take 24 GB
    with memory_below(50_000_000), pytest.raises(ValueError, match=words):
        tinynet.models.load_model(path)
    if kind not in ("far too many units", "a far too large input", "other shapes"):
        with pytest.raises(ValueError, match=words):
            tinynet.models.model_from_json(config)


def test_invalid_archives_are_refused_with_the_reason(tmp_path):
    load = tinynet.models.load_model
    path = tmp_path / "bad.keras"
    for content, words in (
        (b"", "not a zip file"),
        (b"PK\x03\x04", "not a zip file"),
        (b"some text", "not a zip file"),
        ((weights()), "not a zip file"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"received .*bad.keras: .*{words}"):
            load(path)
    for missing in ("config.json", "model.weights.h5"):
        archive(tmp_path)
        parts = files.unpack(path, ["metadata.json", "config.json", "model.weights.h5"])
        path.write_bytes(files.pack({k: v for k, v in parts.items() if k != missing}))
        with pytest.raises(ValueError, match=f"it has no {missing}"):
            load(path)
    for version, words in (('"2.15.0"', "Keras '2.15.0'"), ('"4.0"', "'4.0'"), ("7", "Keras 7")):
        with pytest.raises(ValueError, match=f"Expected a file of Keras 3.*{words}"):
            load(archive(tmp_path, metadata=f'{{"keras_version": {version}}}'))
    with zipfile.ZipFile(archive(tmp_path), "a") as file, pytest.warns(UserWarning, match="Dupl"):
        file.writestr("config.json", "{}")
    with pytest.raises(ValueError, match="it has a part twice"):
        load(path)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("metadata.json", "config.json"):
            file.writestr(name, "{}")
        with file.open("model.weights.h5", "w") as part:
            for _ in range(200):
                part.write(bytes(1_000_000))
    with (
        memory_below(1_000_000),
        pytest.raises(ValueError, match="it would take 200,000,004 bytes, far too many"),
    ):
        tinynet.models.load_model(path)
    # The declared size can be false: no more bytes than declared are ever read.
    data = path.read_bytes()
    length = (200_000_000).to_bytes(4, "little")
    assert data.count(length) == 2
    path.write_bytes(data.replace(length, (2000).to_bytes(4, "little")))
    with pytest.raises(ValueError, match="Nothing was loaded"):
        tinynet.models.load_model(path)


@pytest.mark.parametrize("kind", ["DEFLATED", "BZIP2", "LZMA"])
@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_an_archive_with_false_sizes_is_not_unpacked(tmp_path, kind, name):
    """The part has 100 MB but is declared to have 1000 bytes."""
    path = archive(tmp_path)
    parts = files.unpack(path, ["config.json", "model.weights.h5"])
    parts[name] = bytes(100_000_000)
    with zipfile.ZipFile(path, "w", getattr(zipfile, f"ZIP_{kind}")) as file:
        for part, content in parts.items():
            file.writestr(part, content)
    data = path.read_bytes()
    length = (100_000_000).to_bytes(4, "little")
    assert data.count(length) == 2
    path.write_bytes(data.replace(length, (1000).to_bytes(4, "little")))
    del data, parts
    with (
        memory_below(5_000_000),
        pytest.raises(ValueError, match=r"Bad CRC-32|packed as Keras never does"),
    ):
        tinynet.models.load_model(path)


def test_many_links_to_one_array_do_not_fill_the_memory(tmp_path):
    """300 layers share one array in the file as their kernel: 1.2 GB of weights in 4 MB."""
    config = json.loads(mutants.model().to_json())
    first, dense = config["config"]["layers"][0], config["config"]["layers"][2]
    first["config"]["batch_shape"] = config["config"]["build_input_shape"] = [None, 1000]
    del config["compile_config"]

    def layer(number):
        settings = {**dense["config"], "name": f"d{number}", "units": 1000, "use_bias": False}
        return {"class_name": "Dense", "config": settings}

    config["config"]["layers"] = [first, *map(layer, range(300))]
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for number in range(300):
            place = f"layers/dense{f'_{number}' * (number > 0)}/vars/0"
            file[place] = (
                np.ones((1000, 1000), "f4") if number == 0 else file["layers/dense/vars/0"]
            )
    path = archive(tmp_path, config=json.dumps(config), weights=memory.getvalue())
    with (
        memory_below(60_000_000),
        pytest.raises(ValueError, match="its arrays have more bytes than the file"),
    ):
        tinynet.models.load_model(path)


def test_a_file_far_too_large_is_not_read(tmp_path):
    model, path = mutants.model(), tmp_path / "m.weights.h5"
    path.write_bytes(weights())
    with path.open("r+b") as file:
        file.truncate(20_000_000)  # trailing zeros, which HDF5 ignores
    with (
        memory_below(1_000_000),
        pytest.raises(ValueError, match="20,000,000 bytes, far too many for this model"),
    ):
        model.load_weights(path)


def test_a_model_of_very_many_layers_is_refused(tmp_path):
    config = json.loads(mutants.model().to_json())
    dropout = [
        {"class_name": "Dropout", "config": {"rate": 0, "name": f"d{n}"}} for n in range(20_000)
    ]
    config["config"]["layers"][1:1] = dropout
    with pytest.raises(ValueError, match="it has 20,004 layers, far too many"):
        tinynet.models.load_model(archive(tmp_path, config=json.dumps(config)))


def test_parts_are_read_by_name_and_never_extracted_to_disk(tmp_path, monkeypatch):
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = archive(tmp_path)
    with zipfile.ZipFile(path, "a") as file:
        for name in ("../out.txt", "/tmp/out.txt", "assets/../../out.txt", "C:\\out.txt"):
            file.writestr(name, "out")
    tinynet.models.load_model(path)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["bad.keras", "empty"]
    assert not list(folder.iterdir())


def test_compressed_archives_and_missing_metadata_are_accepted_as_in_keras(tmp_path):
    model = tinynet.models.load_model(
        archive(tmp_path, compression=zipfile.ZIP_DEFLATED, compresslevel=9)
    )
    assert mutants.equal(model.get_weights(), mutants.model().get_weights())
    path = archive(tmp_path)
    parts = files.unpack(path, ["config.json", "model.weights.h5"])
    path.write_bytes(files.pack(parts))
    tinynet.models.load_model(path)


def test_files_of_other_float_types_load_as_in_keras(tmp_path):
    model, path = mutants.model(), tmp_path / "m.weights.h5"
    for dtype in ("f8", ">f4", "f2"):

        def change(file, dtype=dtype):
            values = file[KERNEL][()]
            del file[KERNEL]
            file[KERNEL] = values.astype(dtype)

        path.write_bytes(weights(change))
        model.load_weights(path)
        assert model.get_weights()[0].dtype == "float32"
        assert np.allclose(model.get_weights()[0], mutants.model().get_weights()[0], atol=1e-3)


def test_a_failed_load_leaves_layer_names_and_random_state_unchanged(tmp_path):
    path = archive(tmp_path, config=changed(*LAYER, "config", "units", to=6))
    tinynet.utils.clear_session()
    before = tinynet.backend.generator().bit_generator.state
    with pytest.raises(ValueError, match="belongs to another model"):
        tinynet.models.load_model(path)
    assert tinynet.backend.generator().bit_generator.state == before
    assert Dense(3).name == "dense"
    assert pathlib.Path(path).exists()
