"""A user-defined layer for the tests that need one."""

import tinynet


class Scale(tinynet.Layer):
    """y = s x, with a non-trainable weight that counts the samples."""

    def build(self, input_shape):
        self.add_weight(input_shape[-1:], "ones", name="scale")
        self.add_weight((), "zeros", trainable=False, name="seen")

    def forward(self, x, training=False):
        self.x = x
        self.seen += len(x)
        return x * self.scale

    def backward(self, gradient):
        self.scale_gradient[...] = (gradient * self.x).sum(axis=0)
        return gradient * self.scale
