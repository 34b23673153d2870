"""What constructors accept, declared once for all parts; and what they refuse, in which words.

Keras's arguments that tinynet lacks are refused by name, never ignored. The others are checked, or
turned from a name into what it names, by the function in the table. `constructors` does so.
"""

from collections.abc import Mapping
from typing import Any

from tinynet.compat import checks, naming, validation
from tinynet.compat.checks import Check
from tinynet.compat.naming import is_tinynet_s, short


def part(kind: str) -> Check:
    """A name, a configuration or an object, made an object (or function) of that kind."""
    return lambda value, name: naming.GETTERS[kind](value)


def one_of(*words: str | None) -> Check:
    return lambda value, name: validation.choice(value, name, *words)


PARTS = {
    "activation": part("activation function"),
    "kernel_initializer": part("initializer"),
    "bias_initializer": part("initializer"),
    "kernel_regularizer": part("regularizer"),
}

# How the arguments of a constructor are checked, by the class that has it.
CHECKED: dict[str, dict[str, Check]] = {
    "LayerBase": {
        "name": checks.optional(naming.check),
        "trainable": validation.flag,
        "dtype": checks.float_type,
        "input_shape": checks.optional(validation.shape),
        "input_dim": checks.optional(lambda n, _: validation.shape((n,), "input_shape")[0]),
    },
    "Flatten": {"data_format": one_of("channels_last", "channels_first", None)},
    "Dense": {"units": checks.units, "use_bias": validation.flag},
    "Dropout": {"rate": checks.rate, "seed": checks.seed},
    "InputLayer": {"batch_shape": checks.batch_shape, "dtype": lambda value, name: value},
    "VarianceScaling": {
        "scale": checks.scale,
        "mode": one_of("fan_avg", "fan_in", "fan_out"),
        "distribution": one_of("uniform", "truncated_normal"),
    },
    "L2": {"l2": checks.l2},
    "Loss": {"reduction": checks.reduction},
    "CategoricalCrossentropy": {
        "from_logits": validation.flag,
        "label_smoothing": checks.label_smoothing,
    },
    "Metric": {"dtype": checks.float_type},
    "OptimizerBase": {"name": checks.optional(naming.check), "weight_decay": checks.weight_decay},
    "SGD": {"momentum": checks.momentum, "nesterov": validation.flag},
    "Adam": {
        "beta_1": checks.beta_1,
        "beta_2": checks.beta_2,
        "epsilon": checks.epsilon,
        "amsgrad": validation.flag,
    },
}

# Keras's further arguments, with their defaults, by the class or method that takes them.
FURTHER: dict[str, dict[str, Any]] = {
    "LayerBase": {"activity_regularizer": None, "autocast": True},
    "Dense": {
        "bias_regularizer": None,
        "kernel_constraint": None,
        "bias_constraint": None,
        "lora_rank": None,
        "lora_alpha": None,
        "quantization_config": None,
    },
    "Dropout": {"noise_shape": None},
    "InputLayer": {"sparse": False, "ragged": False, "optional": False, "tensor": None},
    "VarianceScaling": {"input_axes": None, "output_axes": None},
    "CategoricalCrossentropy": {"axis": -1, "ignore_class": None, "dtype": None},
    "MeanSquaredError": {"dtype": None},
    "OptimizerBase": {
        "clipnorm": None,
        "clipvalue": None,
        "global_clipnorm": None,
        "use_ema": False,
        "ema_momentum": 0.99,
        "ema_overwrite_frequency": None,
        "loss_scale_factor": None,
        "gradient_accumulation_steps": None,
    },
    "BackupAndRestore": {"double_checkpoint": False},
    "compile": {
        "loss_weights": None,
        "weighted_metrics": None,
        "run_eagerly": False,
        "steps_per_execution": 1,
        "jit_compile": "auto",
        "auto_scale_loss": True,
    },
    "load_weights": {"skip_mismatch": False},
    "summary": {"positions": None, "layer_range": None, "expand_nested": False},
}

# What Keras writes into a configuration beside the arguments that tinynet has.
WRITTEN: dict[str, dict[str, Any]] = {
    "Dense": {
        "bias_regularizer": None,
        "kernel_constraint": None,
        "bias_constraint": None,
        "quantization_config": None,
    },
    "Dropout": {"noise_shape": None},
    "CategoricalCrossentropy": {"axis": -1},
    "SparseCategoricalCrossentropy": {"ignore_class": None},
    "InputLayer": {"sparse": False, "ragged": False, "optional": False},
    "VarianceScaling": {"input_axes": None, "output_axes": None},
    "Metric": {"dtype": "float32"},
    "OptimizerBase": FURTHER["OptimizerBase"],
}

# The arguments that a reader's own subclass decides: its configuration is without them.
DECIDED = {"VarianceScaling": ("scale", "mode", "distribution")}

# The positional arguments in Keras's order, where it is not that of a constructor here.
IN_ORDER = {
    "Dropout": "rate noise_shape seed",
    "CategoricalCrossentropy": "from_logits label_smoothing axis reduction name",
    "SparseCategoricalCrossentropy": "from_logits ignore_class reduction axis name",
    "MeanSquaredError": "reduction name",
    "SGD": "learning_rate momentum nesterov weight_decay",
    "Adam": "learning_rate beta_1 beta_2 epsilon amsgrad weight_decay",
}

# What Keras says of arguments that it does not know either.
UNKNOWN_ARE = "Unrecognized keyword arguments passed to {}"
OTHER_WORDS = {"OptimizerBase": "Argument(s) not recognized"}

# What somebody wrote who gets such a class.
CALLED = {"InputLayer": "Input"}


def checks_of(kind: type) -> dict[str, Check]:
    """How the arguments of a class, and of those it is derived from, are checked."""
    tables = [CHECKED.get(base.__name__, {}) for base in reversed(kind.__mro__)]
    # Parts come last: to make one can draw a number, which a refusal must not.
    return {**{name: check for table in tables for name, check in table.items()}, **PARTS}


def written(kind: type) -> dict[str, Any]:
    """What Keras writes into the configuration of a class beside the arguments that it has here."""
    own = filter(is_tinynet_s, kind.__mro__)
    return next((WRITTEN[base.__name__] for base in own if base.__name__ in WRITTEN), {})


def refuse_of(kind: type, given: Mapping[str, Any], keras_has: Mapping[str, Any]) -> None:
    """`refuse` what a constructor of `kind` was given, and does not take."""
    words = [OTHER_WORDS[base.__name__] for base in kind.__mro__ if base.__name__ in OTHER_WORDS]
    refuse(CALLED.get(kind.__name__, kind.__name__), given, keras_has, *words)


def refuse(
    where: str,
    arguments: Mapping[str, Any],
    keras_has: Mapping[str, Any] | None = None,
    unknown_are: str = UNKNOWN_ARE,
) -> None:
    """Raise for each argument that tinynet does not support; Keras's defaults may be spelled out.

    Arguments:
        where: the class or call that was given the arguments.
        arguments: what came beyond the parameters that tinynet has.
        keras_has: Keras's further parameters, with their defaults; those of `where` in the table
            above if not given.
        unknown_are: what Keras says, there, of arguments that it does not know either.
    """
    keras_has = FURTHER[where] if keras_has is None else keras_has
    unknown = {name: value for name, value in arguments.items() if name not in keras_has}
    if unknown:
        raise ValueError(f"{unknown_are.format(where)}: {unknown}. Leave {', '.join(unknown)} out.")
    for name, value in arguments.items():
        default = keras_has[name]
        nothing = (value is None or value is False) and not default
        if not nothing and value is not default and not equal(value, default):
            raise ValueError(
                f"{where} was given {name}={short(value)}, which Keras has and tinynet has not. "
                f"Leave {name} out (that is {name}={default!r}), or use Keras for this model."
            )


def equal(one: Any, other: Any) -> bool:
    """Whether two things are equal; an array is equal to nothing else."""
    try:
        return bool(one == other)
    except ValueError:
        return False
