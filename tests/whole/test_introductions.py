"""The programs of five well-known introductions to Keras, written anew from what they do.

Each runs in both libraries, with only the imports changed, from the same weights and in the same
order of samples, on small random data in the shapes of the real ones.
"""

import itertools

import numpy as np
import pytest
from oracle import agree, both

from tinynet.utils import set_random_seed

pytestmark = pytest.mark.host
RNG = np.random.default_rng(25)
IMAGES, LABELS = RNG.integers(0, 256, (320, 28, 28)).astype("uint8"), RNG.integers(0, 10, 320)
TEST_IMAGES, TEST_LABELS = IMAGES[:64], LABELS[:64]


def weights_of(*sizes):
    """Return kernels and biases for a stack of dense layers, small enough for any activation."""
    rng = np.random.default_rng(4)
    pairs = itertools.pairwise(sizes)
    return [
        array.astype("float32")
        for a, b in pairs
        for array in (rng.normal(scale=a**-0.5, size=(a, b)), np.zeros(b))
    ]


def tutorial(keras):
    """Digits with sigmoids, Adam and one-hot labels, pixels from 0 to 1, in two epochs."""
    x_train, x_test = IMAGES.astype("float32") / 255, TEST_IMAGES.astype("float32") / 255
    y_train = keras.utils.to_categorical(LABELS, 10)
    y_test = keras.utils.to_categorical(TEST_LABELS, 10)
    model = keras.models.Sequential()
    model.add(keras.layers.Flatten(input_shape=(28, 28)))
    model.add(keras.layers.Dense(100, activation="sigmoid"))
    model.add(keras.layers.Dense(144, activation="sigmoid"))
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.set_weights(weights_of(784, 100, 144, 10))
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["acc"])
    history = model.fit(x_train, y_train, epochs=2, batch_size=32, shuffle=False, verbose=0,
                        validation_data=(x_test, y_test))  # fmt: skip
    return (
        model,
        history,
        model.evaluate(x_test, y_test, verbose=0),
        model.predict(x_test, verbose=0),
    )


def mnist_with_dense_layers(keras):
    """Two wide layers with relu and dropout, RMSprop, batches of 128, a tenth held out.

    Without dropout's random masks (rate 0), which the two libraries draw differently.
    """
    x_train = IMAGES.reshape(-1, 784).astype("float32") / 255
    y_train = keras.utils.to_categorical(LABELS, num_classes=10)
    model = keras.Sequential([
        keras.Input(shape=(784,)),
        keras.layers.Dense(256, activation="relu"),
        keras.layers.Dropout(0.0),
        keras.layers.Dense(256, activation="relu"),
        keras.layers.Dropout(0.0),
        keras.layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    model.set_weights(weights_of(784, 256, 256, 10))
    model.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.RMSprop(),
                  metrics=["accuracy"])  # fmt: skip
    history = model.fit(x_train, y_train, batch_size=128, epochs=3, validation_split=0.1,
                        shuffle=False, verbose=0)  # fmt: skip
    score = model.evaluate(x_train[:64], y_train[:64], verbose=0)
    return model, history, score, model.predict(x_train[:64], verbose=0)


def first_program_of_the_book(keras):
    """512 units, RMSprop by name, class numbers as labels, batches of 128."""
    train_images = IMAGES.reshape((320, 28 * 28)).astype("float32") / 255
    test_images = TEST_IMAGES.reshape((64, 28 * 28)).astype("float32") / 255
    model = keras.Sequential([
        keras.layers.Dense(512, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.build((None, 784))
    model.set_weights(weights_of(784, 512, 10))
    history = model.fit(train_images, LABELS, epochs=3, batch_size=128, shuffle=False, verbose=0)
    score = model.evaluate(test_images, TEST_LABELS, verbose=0)
    return model, history, score, model.predict(test_images[:10], verbose=0)


def xor(keras):
    """Two inputs, a hidden layer, one sigmoid, binary cross-entropy; 200 epochs of one batch."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    y = np.array([0, 1, 1, 0])
    model = keras.Sequential([
        keras.layers.Input(shape=(2,)),
        keras.layers.Dense(8, activation="tanh"),
        keras.layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    model.set_weights(weights_of(2, 8, 1))
    model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.Adam(learning_rate=0.1),
                  metrics=["accuracy"])  # fmt: skip
    history = model.fit(x, y, epochs=200, shuffle=False, verbose=0)
    return model, history, model.evaluate(x, y, verbose=0), model.predict(x, verbose=0).round()


def regression(keras):
    """A line and a network for the consumption of cars: mean absolute error, early stopping."""
    x = RNG_CARS.copy()
    y = x @ np.linspace(-1, 1, 9) + 3
    model = keras.Sequential()
    model.add(keras.layers.Dense(64, activation="relu", input_shape=(9,)))
    model.add(keras.layers.Dense(64, activation="relu"))
    model.add(keras.layers.Dense(1))
    model.set_weights(weights_of(9, 64, 64, 1))
    model.compile(loss="mean_absolute_error", optimizer=keras.optimizers.Adam(0.001),
                  metrics=["mae", "mse"])  # fmt: skip
    stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=3)
    slower = keras.callbacks.ReduceLROnPlateau(patience=2, factor=0.5)
    history = model.fit(x, y, validation_split=0.2, epochs=12, verbose=0, shuffle=False,
                        callbacks=[stop, slower])  # fmt: skip
    return model, history, model.evaluate(x, y, verbose=0), model.predict(x, verbose=0).flatten()


RNG_CARS = RNG.normal(size=(160, 9)).astype("float32")


@pytest.mark.parametrize(
    "program", [tutorial, mnist_with_dense_layers, first_program_of_the_book, xor, regression]
)
@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
def test_an_introduction_runs_with_the_imports_changed_and_gives_the_same_numbers(keras, program):
    set_random_seed(0)
    theirs, ours = both(keras, program)
    (their_model, *their_results), (our_model, *our_results) = theirs, ours
    # Adam and RMSprop divide by the root of a gradient's square: they enlarge rounding errors.
    for expected, received in zip(their_results, our_results, strict=True):
        agree(expected, received, rtol=2e-4, atol=2e-5)
    for a, b in zip(their_model.get_weights(), our_model.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, atol=2e-4)
    assert program is not xor or (our_results[-1][:, 0] == [0, 1, 1, 0]).all()


def test_compiling_with_a_loss_alone_means_rmsprop(keras):
    def program(library):
        model = library.Sequential([library.Input((2,)), library.layers.Dense(1)])
        model.compile(loss="mse")
        return type(model.optimizer).__name__, float(model.optimizer.learning_rate)

    assert both(keras, program) == [("RMSprop", pytest.approx(0.001))] * 2


def test_the_learning_rate_is_read_and_set_as_a_variable_of_keras_s(keras):
    def program(library):
        optimizer = library.optimizers.SGD(0.5)
        optimizer.learning_rate.assign(0.25)
        rate = optimizer.learning_rate
        return float(rate), rate.numpy().dtype.name, float(rate.value), f"{float(rate):.3f}"

    theirs, ours = both(keras, program)
    assert ours == theirs
