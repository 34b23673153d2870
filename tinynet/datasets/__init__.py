"""The datasets of the examples: two sets of handwritten digits.

`mnist` is the classic one, 70,000 images of 28 × 28, downloaded once and then read from the disk.
`digits` is the small one, 1,797 images of 8 × 8, and is part of tinynet: nothing to download.
Both have a function `load_data()` that returns, like Keras's,
`(x_train, y_train), (x_test, y_test)`, NumPy arrays of unsigned bytes.
"""

from tinynet.datasets import digits, mnist

__all__ = ["digits", "mnist"]
