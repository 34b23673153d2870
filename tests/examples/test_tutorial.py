"""A typical Keras tutorial runs unchanged, except that its imports name tinynet."""

import io
import re
from contextlib import redirect_stdout

import matplotlib.pyplot as plt
import pytest
from arrays import array_equal
from oracle import both

import tinynet

pytestmark = [
    pytest.mark.computes,
    pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive"),
    pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`"),
]

# Written for this test from calls that such tutorials have in common; each of them has to work.
PROGRAM = """
import numpy as np
import matplotlib.pyplot as plt
from keras.datasets import mnist
from keras.utils import to_categorical
from keras.models import Sequential
from keras.layers import Dense, Flatten

(X_train, y_train), (X_test, y_test) = mnist.load_data()
print(X_train.shape, y_train.shape, X_test.shape, y_test.shape)

X_train = X_train.reshape(X_train.shape[0], 28, 28).astype('float32') / 255
X_test = X_test.reshape(X_test.shape[0], 28, 28).astype('float32') / 255
y_train = to_categorical(y_train, num_classes=10)
y_test = to_categorical(y_test, num_classes=10)
print(X_train.dtype, X_train.max(), y_train.shape, y_train.dtype)

model = Sequential()
model.add(Flatten(input_shape=(28, 28)))
model.add(Dense(100, activation='sigmoid'))
model.add(Dense(144, activation='sigmoid'))
model.add(Dense(10, activation='softmax'))
model.summary()
model.compile(loss='categorical_crossentropy', optimizer='adam', metrics=['acc'])
history = model.fit(X_train, y_train, epochs=EPOCHS, validation_data=(X_test, y_test))

for name in ('acc', 'loss'):
    plt.plot(history.history[name], label=name)
    plt.plot(history.history['val_' + name], label='val_' + name)
plt.show()

predictions = model.predict(X_test)
classes = np.argmax(predictions, axis=1)
print(predictions.shape, predictions.dtype, classes.shape)
figure, axes = plt.subplots(2, 5)
for i, ax in enumerate(axes.flat):
    ax.imshow(X_test[i].reshape(28, 28), cmap='gray')
    ax.set_title(f'{classes[i]} ({np.argmax(y_test[i])})')
plt.show()

figure, ax = plt.subplots()
for depth, layer in enumerate(model.layers):
    units = min(layer.units if hasattr(layer, 'units') else 28, 28)
    ax.scatter([depth] * units, range(units))
    ax.text(depth, -2, layer.name)
plt.show()
"""


def run(library, program, load_data=None):
    """Return the variables of the program, and what it prints in this library."""
    names, output = {}, io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
        if load_data is not None:
            patch.setattr(library.datasets.mnist, "load_data", load_data)
        exec(compile(program.replace("keras", library.__name__), "tutorial", "exec"), names)
    plt.close("all")
    return names, output.getvalue()


def plain(text):
    """Return lines without control codes, redraws, and numbers that are measured or random."""
    lines = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
        if "━━━━" in line and "step" in line:  # a progress line: keep its final state
            line = re.sub(r"[\d.e-]+(us|ms|s)\b", "TIME", line.split("\r")[-1].split("\b")[-1])
            line = re.sub(r": [\d.e-]+", ": NUMBER", line)
        lines.append(line.strip())
    return [line for line in lines if line]


def test_the_tutorial_prints_what_it_prints_with_keras(keras, mnist):
    # Two thousand images in place of 70,000, to save time in Keras.
    images, labels = mnist
    some = (images[:1600], labels[:1600]), (images[1600:2000], labels[1600:2000])
    keras.utils.clear_session()
    program = PROGRAM.replace("EPOCHS", "2")
    (theirs, expected), (ours, received) = both(keras, run, program, lambda: some)
    assert plain(received) == plain(expected)
    assert list(theirs["history"].history) == list(ours["history"].history)
    assert "94,494" in received


@pytest.mark.long
def test_the_tutorial_learns_mnist(mnist_directory, monkeypatch):
    """One epoch of the tutorial on all of MNIST, through the real loader."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(mnist_directory.parent.parent))
    names, printed = run(tinynet, PROGRAM.replace("EPOCHS", "1"))
    assert "1875/1875" in printed
    assert names["history"].history["val_acc"][0] > 0.93
    assert array_equal(names["classes"], names["predictions"].argmax(axis=1))
