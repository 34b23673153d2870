"""The data that the examples learn from: two sets of handwritten digits.

`mnist` is the classic one, 70,000 images of 28 × 28, fetched once and then read from the disk.
`digits` is the small one, 1,797 images of 8 × 8, and comes with tinynet: nothing to download.
Both have Keras's one function, `load_data()`, and return what Keras's returns:
`(x_train, y_train), (x_test, y_test)`, NumPy arrays of unsigned bytes.
"""

from tinynet.datasets import digits, mnist

__all__ = ["digits", "mnist"]
