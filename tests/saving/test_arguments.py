"""Keras's arguments of saving and loading: what tinynet takes works as there, the rest is refused.

The weights in the file of a whole model are read by the same rules as those in a file of their own.
"""

import functools
import io
import json
import re
import zipfile

import h5py
import numpy as np
import pytest
from networks import network
from oracle import agree, both, refused, same, variables

import tinynet
from tinynet.models import load_model

RNG = np.random.default_rng(7)
X, Y = RNG.normal(size=(8, 3)).astype("float32"), RNG.normal(size=(8, 2)).astype("float32")
WEIGHTS = "model.weights.h5"


def stack(library, *units, **compiled):
    """Return a model of dense layers with random weights, not of Keras's: those take seconds."""
    layers = [library.layers.Dense(n, kernel_initializer="zeros") for n in units]
    model = network(*layers, inputs=(3,), library=library, **compiled)
    model.set_weights([RNG.normal(size=weight.shape) for weight in model.get_weights()])
    return model


def trained(library, steps):
    """Return a model whose optimizer has the state of one that has trained for some steps."""
    model = stack(library, 4, 2, loss="mse")
    if library is tinynet:
        model.fit(X, Y, 8, epochs=steps, verbose=0)
    else:  # without compiling, which takes a second
        model.optimizer.build(model.trainable_variables)
        model.optimizer.iterations.assign(steps)
        for slot in model.optimizer.variables[2:]:
            slot.assign(RNG.normal(size=slot.shape))
    return model


# A model that nothing changes, for calls that are refused
fixed = functools.cache(lambda library: stack(library, 2))


def written(model, folder, name):
    """Return the path of a file of that name in which `model` was saved."""
    path = folder / name
    (model.save if path.suffix == ".keras" else model.save_weights)(path)
    return path


# Weights out of the file of a whole model


def test_weights_are_loaded_out_of_a_whole_model_of_either_library(keras, tmp_path):
    for here, there in ((tinynet, keras), (keras, tinynet)):
        model, other = trained(here, 1), trained(there, 2)
        path = written(model, tmp_path, "m.keras")
        other.load_weights(path)  # a warning would be an error
        agree(model.get_weights(), other.get_weights())
        agree(variables(model), variables(other), rtol=1e-6)
        assert other.optimizer.iterations == 1
        plain = stack(there, 4, 2)
        plain.load_weights(path)
        agree(model.get_weights(), plain.get_weights())


def test_only_the_weights_are_loaded_if_the_optimizer_is_new(tmp_path):
    path = written(trained(tinynet, 1), tmp_path, "m.keras")
    other = stack(tinynet, 4, 2, loss="mse")
    with pytest.warns(UserWarning, match=r"Only the weights were loaded from .*m\.keras"):
        other.load_weights(path)
    assert other.optimizer.iterations == 0


def replace_parts(path, **changes):
    """Replace parts of the archive at `path` by bytes; None leaves a part out."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in {**parts, **changes}.items():
            if content is not None:
                file.writestr(name, content)


def hdf5_of(model, change):
    """Return the bytes of a file of the model's weights after `change(file)`."""
    memory = io.BytesIO(tinynet.saving.hdf5.to_hdf5(model))
    with h5py.File(memory, "r+") as file:
        change(file)
    return memory.getvalue()


def with_nan(file):
    file["layers/dense/vars/0"][0, 0] = np.nan


def with_link(file):
    file.move("layers/dense", "layers/moved")
    file["layers/dense"] = h5py.SoftLink("/layers/moved")


def with_chunks(file):
    del file["layers/dense/vars/0"]
    file.create_dataset("layers/dense/vars/0", data=np.ones((3, 4), "f4"), chunks=(1, 4))


HOSTILE = {
    "no weights": (lambda model: None, f"it has no {WEIGHTS}"),
    "a zip bomb": (lambda model: bytes(11_000_000), "unpacked, it would take 11,000,000 bytes"),
    "NaN": (lambda model: hdf5_of(model, with_nan), "vars/0 holds NaN or infinity"),
    "a link": (lambda model: hdf5_of(model, with_link), "contains a link, which is not followed"),
    "chunks": (lambda model: hdf5_of(model, with_chunks), "chunked, compressed or external"),
    "not HDF5": (lambda model: b"weights", "file signature not found"),
}


@pytest.mark.parametrize("skip_mismatch", [False, True])
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_and_changes_nothing(tmp_path, kind, skip_mismatch):
    content, words = HOSTILE[kind]
    model, other = trained(tinynet, 1), trained(tinynet, 2)
    path = written(model, tmp_path, "m.keras")
    replace_parts(path, **{WEIGHTS: content(model)})
    before = [*other.get_weights(), *variables(other)]
    with pytest.raises(ValueError, match=rf"received .*m\.keras: .*{words}.*Nothing was loaded"):
        other.load_weights(path, skip_mismatch)
    agree(before, [*other.get_weights(), *variables(other)])


def test_the_weights_in_an_archive_may_not_be_far_too_many_for_the_model(tmp_path):
    """The archive is as large as they are, so that only the model's own size limits them."""
    model = stack(tinynet, 4, 2)
    path = written(model, tmp_path, "m.keras")
    replace_parts(path, **{WEIGHTS: RNG.bytes(10_100_000), "other": RNG.bytes(1000)})
    with pytest.raises(ValueError, match="would take 10,100,000 bytes, far too many"):
        model.load_weights(path)


def test_other_parts_of_an_archive_do_not_matter(tmp_path):
    """The configuration is not read, and so cannot do harm."""
    model, other = stack(tinynet, 4, 2), stack(tinynet, 4, 2)
    path = written(model, tmp_path, "m.keras")
    replace_parts(path, **{"config.json": b"{", "metadata.json": json.dumps(7).encode()})
    other.load_weights(path)
    agree(model.get_weights(), other.get_weights())


# skip_mismatch


@pytest.mark.parametrize("name", ["m.keras", f"m.{WEIGHTS.partition('.')[2]}"])
@pytest.mark.parametrize(
    ("source", "target", "kept"),
    [
        ((4, 2), (4, 5), [1]),  # other units
        ((4, 2), (4, 2, 3), [2]),  # a layer that the file lacks
        ((4, 2, 3), (4, 2), []),  # a layer that only the file has
        ((4, 2), (5, 2), [0, 1]),
    ],
)
def test_layers_that_a_file_does_not_fit_are_skipped_as_in_keras(
    keras, tmp_path, name, source, target, kept
):
    path = written(stack(keras, *source), tmp_path, name)

    def program(library, path):
        model = stack(library, *target)
        before = model.get_weights()
        if kept:
            with pytest.warns(UserWarning, match="could not be loaded|do not fit") as caught:
                model.load_weights(path, skip_mismatch=True)
            assert len(caught) == 1
        else:
            model.load_weights(path, skip_mismatch=True)
        after = model.get_weights()
        skipped = [n for n in range(len(target)) if (before[2 * n] == after[2 * n]).all()]
        return skipped, after

    (theirs, expected), (ours, received) = both(keras, program, path)
    assert ours == theirs == kept
    for n in set(range(len(target))) - set(kept):
        agree(expected[2 * n : 2 * n + 2], received[2 * n : 2 * n + 2])


def test_the_warning_names_the_layers_that_were_skipped_and_why(tmp_path):
    path = written(stack(tinynet, 4, 2), tmp_path, "m.weights.h5")
    model = stack(tinynet, 4, 5, 1)
    one, two = (layer.name for layer in model.layers[1:])
    words = rf"do not fit .*m\.weights\.h5 kept .*\(4, 2\).*'{one}' expects .*\(4, 5\).*'{two}' sho"
    with pytest.warns(UserWarning, match=words) as caught:
        model.load_weights(path, skip_mismatch=True)
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match="belongs to another model"):
        model.load_weights(path)


# Refused as in Keras, with an error of the same type


def save(name, **named):
    return lambda library, path: fixed(library).save(path / name, **named)


def save_weights(name, **named):
    return lambda library, path: fixed(library).save_weights(path / name, **named)


def load_weights(name, **named):
    """Return a program that loads the weights from a file; there are two whose stem is "there"."""

    def program(library, path):
        model = fixed(library)
        model.save(path / "there.keras")
        model.save_weights(path / "there.weights.h5")
        model.load_weights(path / name, **named)

    return program


def load(name, **named):
    return lambda library, path: library.models.load_model(path / name, **named)


def unbuilt(library, path):
    model = network((2,), library=library)
    model.load_weights(written(fixed(library), path, "there.keras"))


REFUSED = {
    "save, .txt and save_format": (save("m.txt", save_format=True), ValueError, "save_format"),
    "save, .png": (save("m.png"), ValueError, r'Write: ".*m\.png\.keras"'),
    "save, no ending": (save("m"), ValueError, r'Write: ".*m\.keras"'),
    "save, .weights.json": (save("m.weights.json"), ValueError, r'Write: ".*m\.keras"'),
    "save, unknown": (save("m.keras", color=1), ValueError, "'color': 1.*Leave color out"),
    "save, .keras and not zipped": (
        save("m.keras", zipped=False),
        ValueError,
        "Expected zipped to be True or None, received: False.*single file",
    ),
    "load, .pkl": (load("m.pkl"), ValueError, r'Write: ".*m\.pkl\.keras"'),
    "load, no ending": (load("m"), ValueError, r'Write: ".*m\.keras"'),
    "load, missing": (load("m.keras"), ValueError, "not found"),
    "load, unknown": (load("m.keras", color=1), TypeError, "color"),
    "save_weights, .h5": (save_weights("m.h5"), ValueError, r'Write: ".*m\.weights\.h5"'),
    "save_weights, .keras": (save_weights("m.keras"), ValueError, "whole model.*model.save"),
    "save_weights, .pkl in shards": (
        save_weights("m.pkl", max_shard_size=1),
        ValueError,
        "max_shard_size",
    ),
    "save_weights, unknown": (save_weights("m.weights.h5", color=1), TypeError, "color"),
    "load_weights, .pkl": (load_weights("m.pkl"), ValueError, r"`\.weights\.h5` or `\.keras`"),
    "load_weights, .keras missing": (load_weights("m.keras"), FileNotFoundError, r"no .*m\.keras"),
    "load_weights, missing": (load_weights("m.weights.h5"), FileNotFoundError, "there is no"),
    "load_weights, objects_to_skip": (
        load_weights("there.keras", objects_to_skip=[]),
        ValueError,
        "objects_to_skip",
    ),
    "load_weights, by_name": (load_weights("there.keras", by_name=True), ValueError, "by_name"),
    "load_weights, by_name of weights": (
        load_weights("there.weights.h5", by_name=True),
        ValueError,
        "by_name",
    ),
    "load_weights, unknown": (load_weights("there.keras", color=None), ValueError, "color"),
    "load_weights, unbuilt": (unbuilt, ValueError, "is not built"),
    "load_weights, another model": (
        lambda library, path: stack(library, 4).load_weights(
            written(fixed(library), path, "m.keras")
        ),
        ValueError,
        "belongs to another model",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_keras_refuses_is_refused_with_an_error_of_the_same_type(keras, tmp_path, kind):
    program, error, words = REFUSED[kind]
    _, received = refused(keras, lambda library: program(library, tmp_path), error=error)
    assert re.search(words, received)


# What Keras does, and tinynet refuses in words
ONLY_KERAS = {
    "save, .h5": (save("m.h5"), r'Write: ".*m\.keras" .*convert an old file with Keras'),
    "save, a folder": (save("m", zipped=False), 'Leave zipped out, and write: "model.keras"'),
    "save, save_format": (save("m.keras", save_format="keras"), "Leave save_format out"),
    "save, include_optimizer": (save("m.keras", include_optimizer=False), "include_optimizer"),
    "save_weights, shards": (
        save_weights("m.weights.h5", max_shard_size=1),
        "max_shard_size=1.*Leave max_shard_size out",
    ),
    "load_weights, shards": (
        load_weights("m.weights.json"),
        r'Write: ".*/m\.weights\.h5" \(to join sharded files with Keras',
    ),
    "load_weights, .h5": (load_weights("m.h5"), "convert an old file with Keras"),
    "load_weights, objects_to_skip": (
        load_weights("there.weights.h5", objects_to_skip=[]),
        "objects_to_skip",
    ),
    "load, unsafe": (load("m.keras", safe_mode=False), "tinynet never runs code from a file"),
}


@pytest.mark.parametrize("kind", ONLY_KERAS)
def test_what_only_keras_does_is_refused_and_nothing_is_written(tmp_path, kind):
    program, words = ONLY_KERAS[kind]
    with pytest.raises(ValueError, match=words):
        program(tinynet, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"there.keras", "there.weights.h5"}


# Taken as in Keras


def test_defaults_may_be_given_and_arguments_may_be_positional(keras, tmp_path):
    def program(library):
        model = stack(library, 2, loss="mse", optimizer="sgd")
        path = str(tmp_path / f"{library.__name__}.keras")
        weights = path.replace("keras", "weights.h5")
        model.save(path, True, True)
        library.models.save_model(model, path, overwrite=True, zipped=None)
        model.save(path, save_format=None, include_optimizer=True)
        model.save_weights(weights, True, None)
        for name in (path, weights):
            model.load_weights(name, False, objects_to_skip=None)
            model.load_weights(filepath=name, skip_mismatch=True, by_name=None)
        loaded = library.models.load_model(path, None, False, True)
        again = library.models.load_model(path, custom_objects={}, compile=True, safe_mode=True)
        return [getattr(m, "optimizer", None) is None for m in (loaded, again)]

    assert same(keras, program) == [True, False]
    assert load_model(tmp_path / "keras.keras").optimizer is not None
