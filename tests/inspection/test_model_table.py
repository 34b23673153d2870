"""The table that a notebook shows of a model, in each state that a model can be in."""

import copy
import pickle
from xml.etree import ElementTree

import numpy as np
from networks import ONE_HOT, Scale, network, tutorial

import tinynet
from tinynet.layers import Activation, Dense, Dropout, Flatten
from tinynet.optimizers import SGD


def shown(model):
    """Return the text above the table, its rows without the headings, and the text below it."""
    page = ElementTree.fromstring(f"<div>{model._repr_html_()}</div>")
    rows = [["".join(cell.itertext()) for cell in row] for row in page.iter("tr")]
    assert rows[0] == ["Layer", "Output shape", "Activation", "Parameters"]
    scrolled = page.find("div")
    assert "overflow-x:auto" in scrolled.get("style")
    return f"{page.findtext('b')}{page.find('b').tail}", rows[1:], scrolled.tail


def test_the_tutorial_model():
    model = tutorial()
    assert shown(model) == (
        "sequential (Sequential), input (None, 28, 28)",
        [
            ["flatten (Flatten)", "(None, 784)", "", "0"],
            ["dense (Dense)", "(None, 100)", "sigmoid", "78,500"],
            ["dense_1 (Dense)", "(None, 144)", "sigmoid", "14,544"],
            ["dense_2 (Dense)", "(None, 10)", "softmax", "1,450"],
        ],
        "94,494 parameters; optimizer Adam, loss categorical_crossentropy",
    )


def test_numbers_are_aligned_on_the_right():
    page = ElementTree.fromstring(f"<div>{tutorial()._repr_html_()}</div>")
    for row in page.iter("tr"):
        *others, number = (cell.get("style") for cell in row)
        assert "text-align:right" in number
        assert "tabular-nums" in number
        assert all("text-align:left" in style for style in others)


def test_a_model_that_is_not_built_shows_question_marks():
    unbuilt = "not built yet: the weights are made when the shape of the input is known"
    assert shown(tinynet.Sequential(name="empty")) == ("empty (Sequential), input ?", [], unbuilt)
    model = tinynet.Sequential([Flatten(), Dense(3)], name="later")
    rows = [["flatten (Flatten)", "?", "", "?"], ["dense (Dense)", "?", "linear", "?"]]
    assert shown(model) == ("later (Sequential), input ?", rows, unbuilt)
    model.compile(SGD(), tinynet.losses.MeanSquaredError())
    assert shown(model)[2] == f"{unbuilt}; optimizer SGD, loss MeanSquaredError"
    model(np.zeros((4, 2, 2)))
    assert shown(model)[1][1] == ["dense (Dense)", "(4, 3)", "linear", "15"]
    assert shown(model)[2] == "15 parameters; optimizer SGD, loss MeanSquaredError"


def test_a_model_inside_has_a_row_and_its_layers_have_rows_below_it():
    block = network((5, "relu"), (4, "tanh"), inputs=(3,))
    deep = tinynet.Sequential([tinynet.Sequential([block, Dropout(0.5)])], name="deep")
    deep.add(Dense(2))
    _, rows, below = shown(deep)
    assert [(row[0].split(" (")[0], row[3]) for row in rows] == [
        ("sequential_1", "44"),
        ("   └ sequential", "44"),
        ("      └ dense", "20"),
        ("      └ dense_1", "24"),
        ("   └ dropout", "0"),
        ("dense_2", "10"),
    ]
    assert below == "54 parameters"


def test_frozen_layers_are_marked_and_do_not_count_as_trainable():
    model = network(Flatten(), Dense(3, trainable=False), Activation("relu"), (2,), inputs=(2, 2))
    model.layers[2].trainable = False  # it has no weights to freeze
    _, rows, below = shown(model)
    assert [row[0] for row in rows] == [
        "flatten (Flatten)", "dense (Dense), frozen", "activation (Activation)", "dense_1 (Dense)"
    ]  # fmt: skip
    assert below.startswith("23 parameters, 8 of them trainable")
    model.trainable = False
    assert shown(model)[2].startswith("23 parameters, 0 of them trainable")


def test_your_own_parts_are_named_by_their_class_or_function():
    class Mine(tinynet.Sequential):
        pass

    def double(z):
        return 2 * z

    class Cost(tinynet.losses.MeanSquaredError):
        pass

    tinynet.activations.backward_of(double)(lambda gradient, a: 2 * gradient)
    odd = Scale()
    odd.activation = "<none>"
    model = Mine([tinynet.Input((3,)), Scale(), Dense(2, double), odd])
    model.compile("sgd", Cost())
    above, rows, below = shown(model)
    assert above == "mine (Mine), input (None, 3)"
    assert [row[2] for row in rows] == ["", "double", "<none>"]
    assert rows[0][:2] == ["scale_1 (Scale)", "(None, 3)"]
    assert below.endswith("; optimizer SGD, loss Cost")


def test_names_are_escaped():
    kind = type("A<b>", (tinynet.Sequential,), {})
    model = kind([tinynet.Input((2,)), Dense(1, name="<i>&amp;")], name="<script>alert(1)")
    above, rows, _ = shown(model)
    assert above == "<script>alert(1) (A<b>), input (None, 2)"
    assert rows[0][0] == "<i>&amp; (Dense)"
    assert "<script" not in model._repr_html_()


def test_every_state_between_is_shown():
    """While it trains, after `add` and `pop` without weights, as a copy, without a loss."""
    model, texts = network((3, "relu"), (2, "softmax"), inputs=(2,), loss=ONE_HOT), []
    keep = tinynet.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: texts.append(shown(model)[1])
    )
    model.fit(np.eye(2), np.eye(2), batch_size=1, verbose=0, callbacks=[keep])
    assert texts == [shown(model)[1]] * 2
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert shown(twin) == shown(model)
    model.pop(rebuild=False)
    assert shown(model)[2].startswith("not built yet")
    model.add(Dense(4), rebuild=False)
    assert shown(model)[1][1] == ["dense_2 (Dense)", "?", "linear", "?"]
    model.build()
    assert shown(model)[2].startswith("25 parameters; optimizer")
    model.unbuild()
    assert shown(model)[0].endswith("input ?")
    other = tinynet.Sequential([Dense(1)])
    other.optimizer = SGD()
    assert shown(other)[2].endswith("; optimizer SGD, loss ?")
