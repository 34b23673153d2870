"""Keras's manners, once for all parts: names, configurations, arguments, errors that teach.

How one writes ``"adam"`` where an `Adam` is meant, what a configuration holds, which of Keras's
arguments are not here, and how an error says so: these are the same for layers, losses, metrics and
optimizers, and stand here, so that the pages can tell the mathematics.
"""
