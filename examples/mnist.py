"""Handwritten digits, from pixels to predictions: the classic first neural network.

    python examples/mnist.py                # ten epochs; writes pictures and a page
    python examples/mnist.py --raw          # pixels 0…255 instead of 0…1: less accurate
    python examples/mnist.py --epochs 3 --batch-size 128 --seed 7 --data digits
    python examples/mnist.py --backend cupy # on a GPU

It is the program of many Keras tutorials, with `keras` replaced by `tinynet` in the imports. What
is not about the network (finding MNIST, options, pictures) is in `common.py` beside it.
"""

import numpy as np
from common import as_text, draw, load, parse_arguments

from tinynet import export_html
from tinynet.layers import Dense, Flatten
from tinynet.models import Sequential
from tinynet.utils import set_random_seed, to_categorical


def main() -> None:
    arguments = parse_arguments()
    set_random_seed(arguments.seed)

    # 1. The data: grayscale images of handwritten digits, and the digit that each one shows.
    (X_train, y_train), (X_test, y_test), brightest = load(arguments.data)
    print(f"Training: {X_train.shape} images, {y_train.shape} labels. Test: {X_test.shape}.")
    sample = 250
    print(f"Sample {sample} is a {y_train[sample]}:")
    print(as_text(X_train[sample], brightest))

    # 2. Pixels become numbers from 0 to 1, and labels become rows such as 0 0 0 1 0 0 0 0 0 0,
    #    because the network's output is ten probabilities.
    x_train, x_test = X_train.astype("float32"), X_test.astype("float32")
    if not arguments.raw:
        x_train, x_test = x_train / brightest, x_test / brightest
    t_train = to_categorical(y_train, num_classes=10)
    t_test = to_categorical(y_test, num_classes=10)

    # 3. The network: two hidden layers, and one output for each digit.
    model = Sequential()
    model.add(Flatten(input_shape=X_train.shape[1:]))
    model.add(Dense(100, activation="sigmoid"))
    model.add(Dense(144, activation="sigmoid"))
    model.add(Dense(10, activation="softmax"))
    model.summary()

    # 4. Training: every epoch uses all images once. After each batch, every weight is changed
    #    a little in the direction that makes the loss smaller. As in the tutorial, the validation
    #    images are the test images, so do not choose anything by them (the number of epochs, say):
    #    the accuracy would then belong to images that helped to make the choice.
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["acc"])
    history = model.fit(
        x_train,
        t_train,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        validation_data=(x_test, t_test),
    )
    accuracy = history.history["val_acc"][-1]
    print(f"Accuracy: {accuracy:.2%} on {len(x_test):,} digits that it was not trained on.")
    if arguments.raw:
        print(
            "Raw pixels of up to 255 make the weighted sums so large that the sigmoids are 0 or 1 "
            "and flat:\nhardly any gradient passes through, and the first layer hardly learns. "
            "Without --raw, pixels are\ndivided by 255, and the same network reaches 97 to 98 %."
        )
    if len(X_train) < 10_000 and arguments.epochs < 50:
        print("So few images need more epochs: --epochs 50 reaches about 90 %.")

    # 5. Prediction: the most probable of the ten digits is the answer.
    probabilities = model.predict(x_test)
    answers = np.argmax(probabilities, axis=1)
    print(f"First ten answers: {answers[:10]}")
    print(f"First ten labels:  {y_test[:10]}")

    # 6. Pictures, and a page on which to draw digits.
    draw(model, history, (X_train, y_train), (X_test, y_test), probabilities, arguments.out)
    page = export_html(
        model,
        arguments.out / "digits.html",
        samples=(x_test, y_test),
        brightest=brightest if arguments.raw else 1,
    )
    print(f"To draw a digit and watch the network learn, open {page} in a browser.")


if __name__ == "__main__":
    main()
