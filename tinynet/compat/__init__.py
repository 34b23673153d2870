"""Keras's manners, once for all parts: names, configurations, arguments, errors that teach.

What the pages compute, they compute in Keras's words. How one writes ``"adam"`` where an `Adam` is
meant, what a configuration holds, which of Keras's arguments are not here, and the sentence that
says so, is the same for layers, losses, metrics and optimizers, and stands here instead of there.
"""
