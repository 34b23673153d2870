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
    lines = re.findall(
        r"[=:] ([-\d.e+·/()²− ]*[·+/²][-\d.e+·/()²− ]*) = (\S+)$", printed, re.MULTILINE
    )
    assert len(lines) == 4 + 1 + 2 * 6  # four samples, their mean, and two worked updates
    for expression, result in lines:
        python = expression.replace("·", "*").replace("−", "-").replace("²", "**2")
        assert_equal_digits(float(result), eval(python))


def test_every_table_follows_from_those_above_it(printed):
    number = r"-?\d[\d.e-]*"
    tables = re.findall(rf"\n  \S.*((?:\n {{6,}}{number}(?: +{number})?)+)(?=\n)", printed)
    tables = [np.array([row.split() for row in rows.split("\n")[1:]], float) for rows in tables]
    forward, (p_slope, d2, *slopes2, passed), (h_slope, d1, *slopes1, last) = (
        tables[:10], tables[10:15], tables[15:],
    )  # fmt: skip
    x, w1, b1, z1, h, x2, w2, b2, z2, p = forward
    y = np.array([[0], [1], [1], [0]])
    for received, expected in [
        (z1, x @ w1 + b1), (h, np.tanh(z1)), (x2, h), (z2, h @ w2 + b2), (p, 1 / (1 + np.exp(-z2))),
        (p_slope, 2 * (p - y) / 4), (d2, p_slope * p * (1 - p)), (slopes2[0], h.T @ d2),
        (slopes2[1], d2.sum(axis=0, keepdims=True)), (passed, d2 @ w2.T), (h_slope, passed),
        (d1, h_slope * (1 - h**2)), (slopes1[0], x.T @ d1),
        (slopes1[1], d1.sum(axis=0, keepdims=True)), (last, d1 @ w1.T),
    ]:  # fmt: skip
        assert received.shape == expected.shape
        assert_equal_digits(received, expected)
