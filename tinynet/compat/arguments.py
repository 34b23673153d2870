"""The arguments that constructors accept or refuse, declared in one place for all classes.

Arguments that Keras has and tinynet lacks are refused by name, never ignored. The others are
checked, or converted from a name to an object, by functions in tables that `constructors` applies.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

from tinynet.backend.types import Config
from tinynet.compat import absent, checks, naming, rules
from tinynet.compat.naming import is_builtin, short
from tinynet.compat.rules import Check

P = ParamSpec("P")
T = TypeVar("T")


def part_check(kind: str) -> Check:
    """Return a check that converts a name or a configuration to an object of that kind."""
    return lambda value, name: naming.GETTERS[kind](value)


def one_of(*words: str | None) -> Check:
    return lambda value, name: checks.choice(value, name, *words)


PART_CHECKS = {
    "activation": part_check("activation function"),
    "kernel_initializer": part_check("initializer"),
    "bias_initializer": part_check("initializer"),
    "kernel_regularizer": part_check("regularizer"),
}

# The checks of each constructor's arguments, by class name.
CHECKS: dict[str, dict[str, Check]] = {
    "LayerBase": {
        "name": rules.optional(naming.check_name),
        "trainable": rules.trainable,
        "dtype": rules.float_type,
        "input_shape": rules.optional(checks.shape),
        "input_dim": rules.optional(lambda n, _: checks.shape((n,), "input_shape")[0]),
    },
    "Flatten": {"data_format": one_of("channels_last", "channels_first", None)},
    "Dense": {"units": rules.units, "use_bias": checks.flag},
    "Dropout": {"rate": rules.rate, "seed": rules.seed, "noise_shape": rules.noise_shape},
    "InputLayer": {"dtype": lambda value, name: value},
    "Constant": {"value": rules.constant},
    "VarianceScaling": {
        "scale": rules.scale,
        "mode": one_of("fan_avg", "fan_in", "fan_out"),
        "distribution": rules.distribution,
    },
    "L2": {"l2": rules.l2},
    "LossBase": {"reduction": rules.reduction, "dtype": rules.float_type},
    "Crossentropy": {
        "from_logits": checks.flag,
        "label_smoothing": rules.label_smoothing,
        "axis": rules.axis,
    },
    "SparseCategoricalCrossentropy": {"ignore_class": rules.ignore_class},
    "BinaryAccuracy": {"threshold": rules.threshold},
    "MetricBase": {"dtype": rules.metric_type},
    "OptimizerBase": {
        "name": rules.optional(naming.check_name),
        "weight_decay": rules.weight_decay,
        **dict.fromkeys(("clipnorm", "clipvalue", "global_clipnorm"), rules.limit),
    },
    "SGD": {"momentum": rules.momentum, "nesterov": checks.flag},
    "ExponentialDecay": {
        "decay_steps": rules.decay_steps,
        "decay_rate": rules.decay_rate,
        "initial_learning_rate": rules.initial_learning_rate,
        "staircase": checks.flag,
    },
    "RMSprop": {
        "rho": rules.rho,
        "momentum": rules.momentum,
        "epsilon": rules.epsilon,
        "centered": checks.flag,
    },
    "Adam": {
        "beta_1": rules.beta_1,
        "beta_2": rules.beta_2,
        "epsilon": rules.epsilon,
        "amsgrad": checks.flag,
    },
}

# What Keras writes into a configuration in addition to the arguments that tinynet has.
EXTRA_CONFIG: dict[str, Config] = {
    "Dense": {
        "bias_regularizer": None,
        "kernel_constraint": None,
        "bias_constraint": None,
        "quantization_config": None,
    },
    "InputLayer": {"sparse": False, "ragged": False, "optional": False},
    "VarianceScaling": {"input_axes": None, "output_axes": None},
    "OptimizerBase": absent.defaults("OptimizerBase"),
}

# The arguments that user-defined subclasses fix: their configurations omit them.
OMITTED_IN_SUBCLASS = {"VarianceScaling": ("scale", "mode", "distribution")}

_OPTIMIZER = "weight_decay clipnorm clipvalue global_clipnorm"

# Keras's order of the positional arguments, where the constructor's order here is different.
POSITIONAL_ORDER = {
    "InputLayer": "shape batch_size dtype sparse ragged batch_shape name",
    "CategoricalCrossentropy": "from_logits label_smoothing axis reduction name dtype",
    "SparseCategoricalCrossentropy": "from_logits ignore_class reduction axis name dtype",
    "BinaryCrossentropy": "from_logits label_smoothing axis reduction name dtype",
    "MeanSquaredError": "reduction name dtype",
    "MeanAbsoluteError": "reduction name dtype",
    "SGD": f"learning_rate momentum nesterov {_OPTIMIZER}",
    "RMSprop": f"learning_rate rho momentum epsilon centered {_OPTIMIZER}",
    "Adam": f"learning_rate beta_1 beta_2 epsilon amsgrad {_OPTIMIZER}",
}

# Arguments that Keras has renamed and still takes, with their names now.
RENAMED = {"InputLayer": {"input_shape": "shape", "batch_input_shape": "batch_shape"}}

# Keras's messages for arguments that Keras does not have either.
UNKNOWN_MESSAGE = "Unrecognized keyword arguments passed to {}"
UNKNOWN_MESSAGE_OF = {"OptimizerBase": "Argument(s) not recognized"}

# The arguments that are not part of a configuration.
NOT_IN_CONFIG: dict[str, tuple[str, ...]] = {
    "InputLayer": ("shape", "batch_size"),
    "LossBase": ("dtype",),
    "losses.SparseCategoricalCrossentropy": ("axis",),
}

# The arguments that Keras's configurations have last, though not its constructors.
LAST_IN_CONFIG = ("noise_shape",)

# Where Keras raises Python's TypeError for an argument that it does not have.
TYPE_ERRORS = ("compile", "add_weight", "VarianceScaling", "BackupAndRestore")

# The public function that creates a class, which is the name to use in error messages.
PUBLIC_NAMES = {"InputLayer": "Input"}


def checks_for(kind: type) -> dict[str, Check]:
    """Return the checks for the arguments of a class and of its base classes."""
    # PART_CHECKS come last: creating an object can draw a random number; a refused call must not.
    tables = [*(CHECKS.get(base.__name__, {}) for base in reversed(kind.__mro__)), PART_CHECKS]
    return {name: check for table in tables for name, check in table.items()}


def extra_config(kind: type) -> Config:
    """Return what Keras's configuration of a class holds in addition to its arguments here."""
    own = filter(is_builtin, kind.__mro__)
    return next((EXTRA_CONFIG[base.__name__] for base in own if base.__name__ in EXTRA_CONFIG), {})


def refuse_for(kind: type, given: Mapping[str, object], unsupported: Mapping[str, object]) -> None:
    """Call `refuse` for the arguments that a constructor of `kind` received but does not take."""
    names = [base.__name__ for base in kind.__mro__]
    message = next(
        (UNKNOWN_MESSAGE_OF[n] for n in names if n in UNKNOWN_MESSAGE_OF), UNKNOWN_MESSAGE
    )
    where = PUBLIC_NAMES.get(kind.__name__, kind.__name__)
    refuse(where, given, unsupported, message, kind)


def refuse_unknown(kind: type, given: Mapping[str, object]) -> None:
    """Raise Python's TypeError for arguments that a constructor does not take, if there are any."""
    if given:
        raise TypeError(
            f"{kind.__name__}.__init__() got an unexpected keyword argument {next(iter(given))!r}. "
            f"{absent.instead(kind, given)}"
        )


def named(method: Callable[P, T]) -> Callable[P, T]:
    """Return a method that says what to write instead of arguments that it does not take."""
    known = inspect.signature(method).parameters

    @functools.wraps(method)
    def call(*values: P.args, **given: P.kwargs) -> T:
        unknown = {name: given[name] for name in given if name not in known}
        if unknown:
            name = method.__name__
            raise TypeError(
                f"{name}() got an unexpected keyword argument {next(iter(unknown))!r}. "
                f"{absent.instead(method, unknown, name)}"
            )
        return method(*values, **given)

    return call


def refuse(
    where: str,
    arguments: Mapping[str, object],
    unsupported: Mapping[str, object] | None = None,
    unknown_message: str = UNKNOWN_MESSAGE,
    kind: type = object,
) -> None:
    """Raise a ValueError for arguments that tinynet does not support, unless they are defaults.

    Arguments:
        where: the class or method that received the arguments.
        arguments: the arguments that are not among tinynet's parameters.
        unsupported: the parameters that only Keras has, with their defaults; those of `where` in
            `absent.ARGUMENTS` if not given.
        unknown_message: Keras's message for arguments that Keras does not have either.
        kind: the class, if it is a constructor that received them.
    """
    unsupported = absent.defaults(where) if unsupported is None else unsupported
    unknown = {name: value for name, value in arguments.items() if name not in unsupported}
    if unknown:
        raise (TypeError if where in TYPE_ERRORS else ValueError)(
            f"{unknown_message.format(where)}: {unknown}. {absent.instead(kind, unknown, where)}."
        )
    for name, value in arguments.items():
        default = unsupported[name]
        nothing = (value is None or value is False) and not default
        if not nothing and value is not default and not equal(value, default):
            raise ValueError(absent.refused(where, name, short(value), default))


def equal(one: object, other: object) -> bool:
    """Return whether two values are equal; False if the comparison is ambiguous, as for arrays."""
    try:
        return bool(one == other)
    except ValueError:
        return False
