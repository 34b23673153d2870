"""Keras as the oracle: run the same program in both libraries and compare the results.

A program is a function that takes the library. Keras's result always comes first.
"""

import numpy as np
import pytest
from arrays import assert_allclose, look

import tinynet


def both(keras, program, *arguments, ours=tinynet):
    """Return the program's results in Keras and in tinynet."""
    return [program(library, *arguments) for library in (keras, ours)]


def same(keras, program, *arguments, ours=tinynet):
    """Return the program's result, after asserting that it is equal in both libraries."""
    expected, received = both(keras, program, *arguments, ours=ours)
    assert received == expected
    return received


def refused(keras, program, match=None, error=ValueError, ours=tinynet):
    """Return both error messages; the program must raise `error`, matching `match`, in both."""

    def said(library):
        with pytest.raises(error, match=match) as caught:
            program(library)
        return str(caught.value)

    return both(keras, said, ours=ours)


def refused_in_keras_s_words(keras, program, match=None, error=ValueError, ours=tinynet):
    """Return tinynet's error message, which must begin with the whole of Keras's message."""
    expected, received = refused(keras, program, match, error, ours)
    assert received.startswith(expected)
    return received


def pair(keras, make, *arguments):
    """Build the same model in Keras and in tinynet, with the same weights."""
    theirs, ours = both(keras, make, *arguments)
    theirs.set_weights(ours.get_weights())
    return theirs, ours


def renewed(model, weights):
    """Reset a compiled Keras model to these weights; compiling a new one would take seconds."""
    model.set_weights(weights)
    for variable in model.optimizer.variables:
        if variable.name != "learning_rate":
            variable.assign(np.zeros(variable.shape))
    return model


def variables(model):
    """Return the variables of a model's optimizer as NumPy arrays."""
    return [np.asarray(look(variable)) for variable in model.optimizer.variables]


def distance(theirs, ours):
    """Return the largest absolute difference between two models' weights."""
    return max(
        np.abs(a - b).max() for a, b in zip(theirs.get_weights(), ours.get_weights(), strict=True)
    )


def agree(theirs, ours, rtol=0, atol=0, close=assert_allclose, place="all"):
    """Assert that histories, dictionaries, lists, arrays or numbers are equal up to rounding.

    Names have to be in the same order; anything that is not a float, such as a count, has to be
    exactly equal.
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
