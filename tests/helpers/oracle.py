"""Keras as the oracle: a program that runs in both libraries, and what it gave there compared.

A program is a function of the library. Keras's side comes first throughout.
"""

import numpy as np
import pytest
from arrays import assert_allclose, look

import tinynet


def both(keras, program, *arguments, ours=tinynet):
    """What the program returns in Keras, and what it returns in tinynet."""
    return [program(library, *arguments) for library in (keras, ours)]


def same(keras, program, *arguments, ours=tinynet):
    """What the program returns in either library, which has to be equal."""
    expected, received = both(keras, program, *arguments, ours=ours)
    assert received == expected
    return received


def refused(keras, program, match=None, error=ValueError, ours=tinynet):
    """What the errors say that the program ends with, of one kind and with words in common."""

    def said(library):
        with pytest.raises(error, match=match) as caught:
            program(library)
        return str(caught.value)

    return both(keras, said, ours=ours)


def refused_in_keras_s_words(keras, program, match=None, error=ValueError, ours=tinynet):
    """What tinynet's error says, which has to begin with all that Keras's says."""
    expected, received = refused(keras, program, match, error, ours)
    assert received.startswith(expected)
    return received


def pair(keras, make, *arguments):
    """The same model twice, Keras's and tinynet's, with the same weights."""
    theirs, ours = both(keras, make, *arguments)
    theirs.set_weights(ours.get_weights())
    return theirs, ours


def renewed(model, weights):
    """Keras's model as it was when it was compiled, which takes seconds, but for these weights."""
    model.set_weights(weights)
    for variable in model.optimizer.variables:
        if variable.name != "learning_rate":
            variable.assign(np.zeros(variable.shape))
    return model


def variables(model):
    """The state of a model's optimizer."""
    return [np.asarray(look(variable)) for variable in model.optimizer.variables]


def distance(theirs, ours):
    """The largest difference between two models' weights."""
    return max(
        np.abs(a - b).max() for a, b in zip(theirs.get_weights(), ours.get_weights(), strict=True)
    )


def agree(theirs, ours, rtol=0, atol=0, close=assert_allclose, place="all"):
    """Histories, dictionaries, lists, arrays or numbers: built alike, and equal up to rounding.

    Names have to be in the same order, and whatever is no float, such as a count, has to be equal.
    """
    for kind in (dict, list, float, np.ndarray):
        assert isinstance(ours, kind) or not isinstance(theirs, kind), place
    if hasattr(theirs, "epoch"):
        assert (ours.epoch, ours.params) == (theirs.epoch, theirs.params)
        agree(theirs.history, ours.history, rtol, atol, close, "history")
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs), place
        for name, value in theirs.items():
            agree(value, ours[name], rtol, atol, close, name)
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), place
        for number, (expected, received) in enumerate(zip(theirs, ours, strict=True)):
            agree(expected, received, rtol, atol, close, f"{place}[{number}]")
    else:
        theirs, ours = np.asarray(theirs), look(ours)
        assert np.shape(ours) == theirs.shape, place
        assert getattr(ours, "dtype", theirs.dtype) == theirs.dtype, place
        if theirs.dtype.kind == "f":
            close(ours, theirs, rtol=rtol, atol=atol, err_msg=place)
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=place)
