"""Hand-drawn digits: each is a list of strokes, each stroke a list of points in a unit square."""

import numpy as np


def arc(x, y, rx, ry, start, end, points=14):
    """Return points on part of an ellipse; angles in degrees, 0 points right and 90 down."""
    angles = np.radians(np.linspace(start, end, points))
    return [(x + rx * np.cos(a), y + ry * np.sin(a)) for a in angles]


DIGITS = {
    0: [arc(0.5, 0.5, 0.26, 0.4, -90, 270, 30)],
    1: [[(0.42, 0.24), (0.54, 0.1), (0.54, 0.9)]],
    2: [[*arc(0.5, 0.3, 0.24, 0.2, -170, 40), (0.26, 0.88), (0.78, 0.88)]],
    3: [[*arc(0.47, 0.29, 0.23, 0.19, -150, 90), *arc(0.47, 0.69, 0.27, 0.21, -90, 150)]],
    4: [[(0.36, 0.1), (0.24, 0.56), (0.8, 0.56)], [(0.62, 0.3), (0.62, 0.92)]],
    5: [[(0.74, 0.12), (0.34, 0.12), (0.31, 0.47), *arc(0.46, 0.66, 0.25, 0.23, -110, 140)]],
    6: [[(0.62, 0.1), (0.4, 0.34), *arc(0.5, 0.69, 0.21, 0.2, 190, -170, 24)]],
    7: [[(0.24, 0.14), (0.76, 0.14), (0.45, 0.9)]],
    8: [[*arc(0.5, 0.29, 0.19, 0.18, 80, -270, 20), *arc(0.5, 0.69, 0.22, 0.21, -90, 260, 22)]],
    9: [[*arc(0.5, 0.32, 0.21, 0.2, 0, -345, 22), (0.71, 0.3), (0.66, 0.9)]],
}


def varied(digit, rng):
    """Return a digit's strokes with random position, size, slant, rotation and a slight tremor."""
    size, lean, turn = rng.uniform(0.3, 0.85), rng.uniform(-0.15, 0.2), rng.uniform(-0.12, 0.12)
    matrix = size * np.array([[np.cos(turn), -np.sin(turn) - lean], [np.sin(turn), np.cos(turn)]])
    strokes = [(np.array(stroke) - 0.5) @ matrix.T for stroke in DIGITS[digit]]
    strokes = [stroke + rng.normal(0, 0.006, stroke.shape) for stroke in strokes]
    every = np.concatenate(strokes)
    low, high = every.min(axis=0), every.max(axis=0)
    move = rng.uniform(0.07 - low, np.maximum(0.93 - high, 0.07 - low))  # a margin of 0.07
    return [stroke + move for stroke in strokes]
