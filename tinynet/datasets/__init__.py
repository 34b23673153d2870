"""The datasets of the examples: images of handwritten digits, and of clothes.

`mnist` is the classic one, 70,000 images of 28 × 28, downloaded once and then read from the disk.
`fashion_mnist` has the same form, with ten kinds of clothes instead of digits.
`digits` is the small one, 1,797 images of 8 × 8, and is part of tinynet: nothing to download.
All have a function `load_data()` that returns, like Keras's,
`(x_train, y_train), (x_test, y_test)`, NumPy arrays of unsigned bytes.
"""

from tinynet.compat import missing
from tinynet.datasets import digits, fashion_mnist, mnist

__all__ = ["digits", "fashion_mnist", "mnist"]
missing.teach(__name__)
