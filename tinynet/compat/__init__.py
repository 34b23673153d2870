"""Keras's conventions, implemented once for all classes: names, configurations, arguments, errors.

How ``"adam"`` becomes an `Adam`, what a configuration holds, which of Keras's arguments are not
supported, and how errors are worded: all this is the same for layers, losses, metrics and
optimizers. It is implemented here, so that the pages can concentrate on the mathematics.
"""
