"""What the course in `examples/course/` needs: the digits, the pictures, and a check for each gap.

`neuron`, `being_wrong` and `way_back` hold the checks of lessons 1 to 3; `grading` is what a check
is made of, and enough to write a lesson of your own:

>>> from tinynet.course import Gap
>>> square = Gap(lambda x: x * x, "Yes.", {"It looks doubled.": lambda x: x + x}, cases=[(3,)])
>>> square(lambda x: x**2)
✓ Right. Yes.
"""

from tinynet.course import being_wrong, neuron, way_back
from tinynet.course.data import load_data
from tinynet.course.grading import Gap, GapError
from tinynet.course.pictures import (
    plot_images,
    plot_pixels,
    plot_slope,
    plot_softmax,
    plot_sums,
    plot_way_back,
)

__all__ = [
    "Gap",
    "GapError",
    "being_wrong",
    "load_data",
    "neuron",
    "plot_images",
    "plot_pixels",
    "plot_slope",
    "plot_softmax",
    "plot_sums",
    "plot_way_back",
    "way_back",
]
