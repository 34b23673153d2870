"""What the course in `examples/course/` needs: the digits, the pictures, and a check for each gap.

`neuron`, `being_wrong`, `way_back`, `taking_steps`, `by_heart` and `your_own` hold the checks of
lessons 1 to 6; `grading` is what a check is made of, and enough to write a lesson of your own:

>>> from tinynet.course import Gap
>>> square = Gap(lambda x: x * x, "Yes.", {"It looks doubled.": lambda x: x + x}, cases=[(3,)])
>>> square(lambda x: x**2)
✓ Right. Yes.
"""

from tinynet.course import being_wrong, by_heart, neuron, taking_steps, way_back, your_own
from tinynet.course.data import load_data
from tinynet.course.grading import Gap, GapError
from tinynet.course.pictures import (
    plot_curves,
    plot_images,
    plot_paths,
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
    "by_heart",
    "load_data",
    "neuron",
    "plot_curves",
    "plot_images",
    "plot_paths",
    "plot_pixels",
    "plot_slope",
    "plot_softmax",
    "plot_sums",
    "plot_way_back",
    "taking_steps",
    "way_back",
    "your_own",
]
