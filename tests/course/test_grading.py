"""The grading of gaps: what is right in any form, and the hints for what is open or wrong."""

import io
import sys

import numpy as np
import pytest
from networks import network

from tinynet import backend
from tinynet.course import Gap, GapError, being_wrong, way_back
from tinynet.course.errors import misfit
from tinynet.course.grading import (
    central_differences,
    grade_parts,
    not_yet,
    right,
)
from tinynet.layers import Layer

X = np.arange(6.0).reshape(2, 3) + 1
mean = Gap(
    lambda x: x.mean(axis=0),
    "The mean of each column.",
    {"These are sums.": lambda x: x.sum(axis=0)},
    [(X,), (X - 10,)],
)


def hint(check, *arguments):
    """Return the hint for a wrong answer."""
    with pytest.raises(GapError) as caught:
        check(*arguments)
    return " ".join(str(caught.value).removeprefix("✗ Not yet. ").split())


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: x.mean(axis=0),
        lambda x: np.einsum("ij->j", x) / 2,
        lambda x: np.array([sum(column) / len(column) for column in x.T.tolist()]),
        lambda x: x.mean(axis=0).astype("float32"),
        lambda array: array.sum(0) * 0.5,
    ],
)
def test_what_is_right_is_praised_in_any_form(answer, capsys):
    mean(answer)
    assert capsys.readouterr().out == "✓ Right. The mean of each column.\n"


@pytest.mark.parametrize(
    "answer",
    [
        ...,
        lambda x: ...,
        lambda x: x - ...,
        lambda x: [..., ...],
        lambda x: np.exp(...),
    ],
)
def test_a_gap_that_is_open_is_called_open(answer):
    assert "still open" in hint(mean, answer)


def test_dots_that_raise_no_error_are_called_open():
    def unfinished(x):
        transposed = ...
        if transposed:  # dots are true
            x = x.T
        return x.mean(axis=0)

    assert "This gap is still open" in hint(mean, unfinished)
    # These dots are no gap.
    mean(lambda x: x[...].mean(axis=0))
    assert hint(mean, lambda x: x[...].sum(axis=0)) == "These are sums."
    assert "no attribute 'median'" in hint(mean, lambda x: x[...].median())


def test_dots_that_make_another_error_are_found_in_the_students_variables():
    def unfinished(x):
        delta = ...
        return x @ delta  # NumPy: matmul … does not have enough dimensions

    assert "Still open: delta." in hint(mean, unfinished)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: x.sum(axis=0), "These are sums."),
        (lambda x: None, "is the `return` missing?"),
        (lambda x: "text", "Expected numbers, received 'text'."),
        (lambda x: [[1], [1, 2]], "Expected numbers, received [[1], [1, 2]]."),
        (lambda x: (x, x.sum(axis=0)), "Expected numbers, received (array("),
        (
            lambda x: x.mean(axis=1),
            "shape (3,) for x of shape (2, 3); received an array of shape (2,)",
        ),
        (lambda x: x.mean(axis=0) * np.nan, "received nan or inf"),
        (lambda x: -x.mean(axis=0), "It has the wrong sign."),
        (lambda x: 3 * x.mean(axis=0), "It is 3 times as large as it should be, everywhere."),
        (lambda x: x.mean(axis=0) / 2, "number of samples: was 1/n taken twice?"),
        (lambda x: x.mean(axis=0) + np.eye(3)[2], "Expected 4.5 at [2] for x of shape (2, 3); rec"),
        (lambda x: x @ x, "In A @ B, A needs as many columns as B has rows. Here: 3 and 2."),
        (lambda x: x.mean(axis=0) + X.mean() - 3.5 + 1, "uses the notebook's X, not its arg"),
        (lambda x: [*x.mean(axis=0)], "numbers are right, but later cells need an array"),
        (3.0, "Expected the function itself"),
    ],
)
def test_a_wrong_answer_gets_a_hint(answer, words):
    assert words in hint(mean, answer)


def test_a_transposed_result_is_recognised():
    double = Gap(lambda x: 2 * x, "", {}, [(X,)])
    assert "It looks transposed." in hint(double, lambda x: 2 * x.T)


def test_an_argument_that_is_changed_is_named_and_the_cases_stay_as_they_are():
    def in_place(x):
        x -= 1
        return x.mean(axis=0) + 1

    for _ in range(2):
        assert "changes its argument x in place" in hint(mean, in_place)
    assert "argument number 1 in place" in hint(mean, lambda *given: in_place(*given))
    mean(lambda x: x.mean(axis=0))


def test_an_error_shows_the_students_line_and_the_arguments():
    def wrong(x):
        return x.median(axis=0)

    words = hint(mean, wrong)
    assert "AttributeError: 'numpy.ndarray' object has no attribute 'median'" in words
    assert "return x.median(axis=0) It was called with x of shape (2, 3)." in words


def test_many_arguments_are_shortened():
    many = Gap(lambda *arrays: 0.0, "", {}, [(X,) * 9])
    words = hint(many, lambda a, b, c, d, e, f, g, h, i: 1.0)
    assert "a of shape (2, 3), b of shape (2, 3)" in words
    assert "…" in words
    assert "i of" not in words


def test_the_ratio_of_a_single_number_is_not_a_hint():
    total = Gap(lambda x: x.sum(), "", {}, [(X,)])
    assert hint(total, lambda x: 3 * x.sum()) == "Expected 21 for x of shape (2, 3); received 63."


def test_zero_has_no_sign_in_a_hint():
    zeros = Gap(lambda x: 0 * -x, "", {}, [(X,)])
    assert "Expected 0 at" in hint(zeros, lambda x: x == 1)


def test_an_interruption_is_not_a_hint():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mean(interrupted)


def test_a_value_is_graded_like_a_function(capsys):
    ten = Gap(10.0, "Ten.", {"It looks halved.": 5})
    ten(10)
    ten(np.float32(10))
    assert hint(ten, 5.0) == "It looks halved."
    assert hint(ten, lambda: 10.0).startswith("Expected the value, received <function")
    assert hint(ten, 7) == "7 is too small."
    assert hint(ten, [10.0, 10.0]) == "Expected one number; received an array of shape (2,)."
    assert capsys.readouterr().out == "✓ Right. Ten.\n" * 2


def test_of_several_results_the_first_wrong_one_is_named():
    parts = [("low", lambda x: x.min(), {"It is the mean.": lambda x: x.mean()}),
             ("high", lambda x: x.max(), {})]  # fmt: skip
    grade_parts(lambda x: (x.min(), x.max()), [(X,)], parts)
    grade = lambda answer: grade_parts(answer, [(X,)], parts)  # noqa: E731
    assert hint(grade, lambda x: (x.mean(), 0)) == "low: It is the mean."
    assert hint(grade, lambda x: (x.min(), 0)).startswith(
        "low is right. high: Expected 6 for x of shape (2, 3)"
    )
    assert hint(grade, lambda x: x.min()) == "Expected 2 results: low, high."
    grade(lambda x: np.array([x.min(), x.max()]))
    assert hint(grade, lambda x: (x.min(), ...)) == "low is right. high is still open."
    assert "still open" in hint(grade, lambda x: ...)
    assert "uses the notebook's X, not its" in hint(grade, lambda x: (x.min(), X.max() + 1))


def test_every_row_of_a_hint_fits_a_screen_and_code_keeps_its_line():
    with pytest.raises(GapError) as caught:
        mean(lambda x: x.reshape(7, 3, *[1 for number in range(20)], order="C" if len(x) else "F"))
    lines = str(caught.value).splitlines()
    assert all(len(line) <= 92 or line.startswith(" ") for line in lines)
    assert any(line.startswith("    mean(lambda x:") and line.endswith('"F"))') for line in lines)


def test_a_notebook_shows_the_hint_without_a_traceback():
    with pytest.raises(AssertionError) as caught:
        mean(lambda x: x.median(axis=0))
    lines = caught.value._render_traceback_()
    assert len(lines) > 1
    assert lines == str(caught.value).splitlines()
    assert caught.value.__suppress_context__


def test_marks_can_be_printed_in_any_encoding(monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    right("Σ δ: a sum.")
    assert str(not_yet("Σ δ: a sum.")).isascii()
    output.seek(0)
    assert "Right." in output.read()


@pytest.mark.parametrize(
    ("given", "expected", "words"),
    [
        ("3,2", "2,3", "transposed"),
        ("4,3", "3,", "sum over the samples"),
        ("4,3", "7,3", ""),
        ("3,3", "3,", "sum over the samples"),
    ],
)
def test_shapes_that_do_not_fit_are_explained(given, expected, words):
    message = f"could not broadcast input array from shape ({given}) into shape ({expected})"
    assert words in misfit(message)
    assert bool(words) == bool(misfit(message))


def test_central_differences_change_nothing_and_find_every_slope(rng):
    w = rng.normal(size=(2, 3))
    before = w.copy()
    slopes = central_differences(lambda: float((w**3).sum()), w)
    assert (w == before).all()
    assert slopes == pytest.approx(3 * before**2, abs=1e-8)


def test_weights_trained_by_hand_are_compared_with_those_of_tinynet(rng, capsys):
    W, b = rng.normal(size=(4, 3)), rng.normal(size=3)
    being_wrong.same_as_tinynet(W + 1e-6, b, W, b)
    assert "by more than 1e-06" in capsys.readouterr().out
    assert hint(being_wrong.same_as_tinynet, W.T, b, W, b).startswith("W is not tinynet's. Expec")
    assert hint(being_wrong.same_as_tinynet, W, b + 0.01, W, b).startswith("b is not tinynet's.")
    assert hint(being_wrong.same_as_tinynet, ..., b, W, b).startswith("This gap is still open")


def test_a_check_draws_no_random_numbers_of_later_cells():
    class Own(Layer):
        def __init__(self, units):
            super().__init__()
            self.units = units

        def build(self, input_shape):
            self.add_weight((input_shape[-1], self.units), "glorot_uniform", name="kernel")
            self.add_weight((self.units,), "zeros", name="bias")

        def compute_output_shape(self, input_shape):
            return (input_shape[0], self.units)

        def forward(self, x, training=False):
            self.x = x
            return x @ self.kernel + self.bias

        def backward(self, delta):
            self.kernel_gradient = self.x.T @ delta  # instead of [:], which is right, too
            self.bias_gradient = np.einsum("ni->i", delta)
            return delta @ self.kernel.T

    before = backend.generator().bit_generator.state
    way_back.dense_backward(Own)
    assert backend.generator().bit_generator.state == before


def test_gradients_are_compared_with_those_of_a_trace(rng, capsys):
    model = network((3, "tanh"), (2,), inputs=(4,), loss="mse")
    trace = model.trace(rng.normal(size=(5, 4)), rng.normal(size=(5, 2)))
    dW2, db2 = trace[-1]["∂L/∂W"], trace[-1]["∂L/∂b"]
    dW1, db1 = trace[0]["∂L/∂W"], trace[0]["∂L/∂b"]
    way_back.same_as_trace(trace, dW2, db2, dW1, db1)
    assert "No gradient differs from tinynet's" in capsys.readouterr().out
    wrong = hint(way_back.same_as_trace, trace, dW2, db2, -dW1, db1)
    assert wrong.startswith("dW1 is not the trace's.")
    assert "wrong sign" in wrong
