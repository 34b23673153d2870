"""Whoever follows `by_hand.py` with a pocket calculator gets the digits that it prints."""

import re
import runpy
import sys

import numpy as np
import pytest
from conftest import ROOT


@pytest.fixture
def printed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["by_hand.py", "--steps", "1"])
    monkeypatch.setitem(sys.modules, "keras", None)  # one other test compares with Keras
    runpy.run_path(str(ROOT / "examples" / "by_hand.py"), run_name="__main__")
    return capsys.readouterr().out


def assert_equal_digits(received, expected):
    """Assert that the printed numbers are right to one unit of the sixth digit of the largest."""
    unit = 10 ** (np.floor(np.log10(np.abs(received).max())) - 5)
    np.testing.assert_allclose(received, expected, rtol=0, atol=1.01 * unit)


def test_every_equation_adds_up(printed):
    equation = r"[=:] ([-\d.e+·/()²− ]*[·+/²][-\d.e+·/()²− ]*) = (\S+)$"
    lines = re.findall(equation, printed, re.MULTILINE)
    assert len(lines) == 4 + 1 + 2 * 6  # four samples, their mean, and two worked updates
    for expression, result in lines:
        python = expression.replace("·", "*").replace("−", "-").replace("²", "**2")
        assert_equal_digits(float(result), eval(python))


def test_every_table_follows_from_those_above_it(printed):
    number = r"-?\d[\d.e-]*"
    tables = re.findall(rf"\n  \S.*((?:\n {{6,}}{number}(?: +{number})?)+)(?=\n)", printed)
    tables = [np.array([row.split() for row in rows.split("\n")[1:]], float) for rows in tables]
    x, w1, b1, z1, h, x2, w2, b2, z2, p, dp, dz2, dw2, db2, dx2, dh, dz1, dw1, db1, dx = tables
    y = np.array([[0], [1], [1], [0]])
    for received, expected in [
        (z1, x @ w1 + b1), (h, np.tanh(z1)), (x2, h), (z2, h @ w2 + b2), (p, 1 / (1 + np.exp(-z2))),
        (dp, 2 * (p - y) / 4), (dz2, dp * p * (1 - p)), (dw2, h.T @ dz2), (db2, dz2.sum(axis=0)),
        (dx2, dz2 @ w2.T), (dh, dx2), (dz1, dh * (1 - h**2)), (dw1, x.T @ dz1),
        (db1, dz1.sum(axis=0)), (dx, dz1 @ w1.T),
    ]:  # fmt: skip
        expected = np.atleast_2d(expected)
        assert received.shape == expected.shape
        assert_equal_digits(received, expected)
