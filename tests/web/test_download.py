"""Weights that were downloaded from a page, in Python: the same numbers, or a refusal in words."""

import io
import zipfile

import numpy as np
import pytest
from arrays import assert_array_equal
from networks import SPARSE, network
from webpage import click, settled, train

import tinynet
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.web import load_weights

ARCHITECTURE = "12 inputs → 7 tanh → 5 relu without bias → 3 softmax"


def model_of(*, frozen=False, **options):
    """Return a network whose second layer has no bias, and whose third is in two parts."""
    second = Dense(5, "relu", use_bias=False)
    second.trainable = not frozen
    return network(
        Flatten(), (7, "tanh"), Dropout(0.2), second, Dense(3), Activation("softmax"),
        inputs=(3, 4), loss=SPARSE, **options,
    )  # fmt: skip


def download(page, path):
    with page.expect_download() as found:
        click(page, "#download")
    assert found.value.suggested_filename == "weights.npz"
    found.value.save_as(path)
    return path


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_weights_of_the_page_come_back_bit_for_bit(visit, tmp_path, rng, dtype):
    model = model_of(frozen=True)
    x, y = rng.normal(size=(60, 3, 4)).astype("float32"), np.arange(60) % 3
    tinynet.utils.set_random_seed(8)  # otherwise rounding to float16 might change an answer
    page = visit(tinynet.export_html(model, tmp_path / "page.html", (x, y), dtype=dtype))
    first = download(page, tmp_path / "first.npz")
    exported = [weight.copy() for weight in model.get_weights()]
    load_weights(model, first)
    for weight, before in zip(model.get_weights(), exported, strict=True):
        assert_array_equal(weight, before.astype(dtype).astype("float32"))
    train(page, 30)
    path = download(page, tmp_path / "weights.npz")
    words = 'Downloaded. In Python: import tinynet; tinynet.web.load_weights(model, "weights.npz")'
    settled(page)
    assert words in page.inner_text("#stage-text")
    assert page.inner_text("#said").strip() == words
    other = model_of()  # another model of the same layers, under other names
    steps = other.optimizer.iterations
    assert load_weights(other, str(path)) is None
    assert other.optimizer.iterations == steps
    frozen = other.get_weights()[2]
    assert_array_equal(frozen, exported[2].astype(dtype).astype("float32"))
    assert abs(other.get_weights()[0] - exported[0]).max() > 0.1
    rows = [[float(number) for number in row] for row in x[:5].reshape(5, -1)]
    script = "rows => rows.map(row => [...forward(model, Float32Array.from(row)).at(-1).a])"
    answers = page.evaluate(script, rows)
    assert other.predict(x[:5], verbose=0) == pytest.approx(np.array(answers), abs=1e-6)
    # Any program that opens zip files or NumPy's can read it.
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    with np.load(path) as arrays:
        names = ["kernel_1", "bias_1", "kernel_2", "kernel_3", "bias_3"]
        assert [name for name in arrays.files if name != "architecture.txt"] == names
        for name, weight in zip(names, other.get_weights(), strict=True):
            assert_array_equal(arrays[name], weight)
        assert arrays["architecture.txt"].decode() == ARCHITECTURE


def parts_of(model):
    """Return what a file of a model's weights has, by name."""
    names = ["kernel_1", "bias_1", "kernel_2", "kernel_3", "bias_3"]
    parts = {"architecture.txt": ARCHITECTURE.encode()}
    return parts | {
        f"{name}.npy": npy(weight) for name, weight in zip(names, model.get_weights(), strict=True)
    }


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def write(path, parts):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


OTHERS = {
    "inputs": lambda: network(
        (7, "tanh"), Dense(5, "relu", use_bias=False), (3, "softmax"), inputs=(13,)
    ),
    "units": lambda: network(
        (7, "tanh"), Dense(4, "relu", use_bias=False), (3, "softmax"), inputs=(12,)
    ),
    "activation": lambda: network(
        (7, "sigmoid"), Dense(5, "relu", use_bias=False), (3, "softmax"), inputs=(12,)
    ),
    "bias": lambda: network((7, "tanh"), (5, "relu"), (3, "softmax"), inputs=(12,)),
    "a layer more": lambda: network(
        (7, "tanh"), Dense(5, "relu", use_bias=False), (3, "softmax"), (3, "softmax"), inputs=(12,)
    ),
    "an activation more": lambda: network(
        (7, "tanh"), Activation("tanh"), Dense(5, "relu", use_bias=False), (3, "softmax"),
        inputs=(12,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_weights_of_another_network_are_refused(tmp_path, what):
    model = OTHERS[what]()
    before = model.get_weights()
    path = write(tmp_path / "weights.npz", parts_of(model_of()))
    with pytest.raises(ValueError, match="Expected weights of this model, 1") as caught:
        load_weights(model, path)
    assert f"received those of another, {ARCHITECTURE}, in " in str(caught.value)
    for weight, other in zip(model.get_weights(), before, strict=True):
        assert_array_equal(weight, other)


def changed(name, data):
    return lambda parts: parts | {name: data(parts[name]) if callable(data) else data}


DAMAGE = {
    "a part is missing": (
        lambda parts: {k: v for k, v in parts.items() if k != "bias_3.npy"},
        "bias_3",
    ),
    "another shape": (changed("kernel_2.npy", npy(np.zeros((5, 7), "f4"))), r"\(5, 7\) of float32"),
    "float64": (changed("bias_3.npy", npy(np.zeros(3))), "of float64, not"),
    "NaN": (changed("bias_3.npy", npy(np.full(3, np.nan, "f4"))), "NaN or infinity"),
    "infinity": (changed("bias_1.npy", npy(np.full(7, np.inf, "f4"))), "NaN or infinity"),
    "objects": (changed("bias_1.npy", npy(np.array([print] * 7))), "bias_1.npy"),
    "an array that ends too early": (changed("kernel_1.npy", lambda data: data[:-1]), "kernel_1"),
    "no array": (changed("kernel_1.npy", b"weights"), "kernel_1"),
    "a zip in place of an array": (changed("kernel_1.npy", b"PK\3\4" + bytes(99)), "kernel_1"),
    "a shape beyond all numbers": (
        changed(
            "kernel_1.npy",
            lambda data: data.replace(b"(12, 7), }" + b" " * 18, b"(" + b"9" * 20 + b", 7), }"),
        ),
        "kernel_1",
    ),
    "a header that is no dictionary": (
        changed("kernel_1.npy", lambda data: data.replace(b"{'", b"('")),
        "kernel_1",
    ),
    "an empty part": (changed("kernel_1.npy", b""), "kernel_1"),
    "no architecture": (
        lambda parts: {k: v for k, v in parts.items() if k.endswith("npy")},
        "it has no architecture.txt",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_weights_are_refused_and_change_nothing(tmp_path, what):
    (damage, words), model = DAMAGE[what], model_of()
    parts = damage(parts_of(model_of()))
    before = model.get_weights()
    with pytest.raises(ValueError, match=words) as caught:
        load_weights(model, write(tmp_path / "weights.npz", parts))
    assert "Nothing was loaded" in str(caught.value)
    for weight, other in zip(model.get_weights(), before, strict=True):
        assert_array_equal(weight, other)


def test_a_byte_that_differs_or_a_cut_is_found(tmp_path, rng):
    whole = write(tmp_path / "whole.npz", parts_of(model_of())).read_bytes()
    model, path = model_of(), tmp_path / "weights.npz"
    before = model.get_weights()
    start = whole.index(b"NUMPY") + 200  # within the first kernel
    for data in (
        whole[:start] + bytes([whole[start] ^ 1]) + whole[start + 1 :],
        whole[: len(whole) // 2],
        b"",
        b"{}",
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="Nothing was loaded"):
            load_weights(model, path)
    assert_array_equal(model.get_weights()[0], before[0])


def test_what_is_no_model_and_no_file_is_refused(tmp_path):
    path = write(tmp_path / "weights.npz", parts_of(model_of()))
    with pytest.raises(ValueError, match=r"Expected a model, received.*Write: load_weights\(model"):
        load_weights(path, model_of())
    with pytest.raises(ValueError, match="not built"):
        load_weights(tinynet.Sequential([Dense(3)]), path)
    with pytest.raises(ValueError, match=r"layer '.*' \(Own\): the page supports"):
        load_weights(network(type("Own", (tinynet.Layer,), {})(), inputs=(3,)), path)
    with pytest.raises(ValueError, match=r'Write: "model.npz"'):
        load_weights(model_of(), 3)
    with pytest.raises(ValueError, match=r"weights\.npz"):
        load_weights(model_of(), "weights.h5")
    with pytest.raises(FileNotFoundError):
        load_weights(model_of(), tmp_path / "none.npz")
