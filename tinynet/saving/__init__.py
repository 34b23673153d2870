"""Models in Keras's file formats: `save` writes, `load` reads, `hdf5` does both for the weights."""

import functools
import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec

from tinynet.backend.types import Model
from tinynet.compat import missing
from tinynet.saving.save import (
    KERAS_VERSION as KERAS_VERSION,
    get_config as get_config,
    save_model as save_model,
    to_json as to_json,
)

P = ParamSpec("P")
missing.teach(__name__)


def for_class(
    function: Callable[Concatenate[type[Model], P], Model], cls: type[Model]
) -> Callable[P, Model]:
    """Return `function` with its first argument, the class of model to make, set to `cls`."""

    @functools.wraps(function)
    def bound(*values: P.args, **named: P.kwargs) -> Model:
        return function(cls, *values, **named)

    parameters = list(inspect.signature(function).parameters.values())[1:]
    vars(bound)["__signature__"] = inspect.Signature(parameters)
    bound.__module__ = cls.__module__
    return bound
