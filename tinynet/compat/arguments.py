"""Arguments that Keras has and tinynet has not: refused by name, and never silently ignored.

Their defaults may be spelled out, as Keras's own configurations do, and are then accepted.
"""

from collections.abc import Mapping
from typing import Any

from tinynet.compat.naming import is_tinynet_s, short

# Keras's further arguments, with their defaults, by the class or method that takes them.
FURTHER: dict[str, dict[str, Any]] = {
    "Layer": {"activity_regularizer": None, "autocast": True},
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
    "Metric": {"dtype": "float32"},
    "FunctionMetric": {"function": None},
    "Optimizer": {
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

# Those that Keras writes into a configuration, and tinynet therefore does as well.
WRITTEN = {
    "Dense": ("bias_regularizer", "kernel_constraint", "bias_constraint", "quantization_config"),
    "Dropout": ("noise_shape",),
    "CategoricalCrossentropy": ("axis",),
    "SparseCategoricalCrossentropy": ("ignore_class",),
    "InputLayer": ("sparse", "ragged", "optional"),
    "VarianceScaling": ("input_axes", "output_axes"),
    "Metric": ("dtype",),
    "Optimizer": tuple(FURTHER["Optimizer"]),
}


def further(kind: type) -> dict[str, Any]:
    """Keras's further arguments of a class and of those that it is derived from."""
    tables = (FURTHER.get(base.__name__, {}) for base in kind.__mro__ if is_tinynet_s(base))
    return {name: default for table in tables for name, default in table.items()}


def written(kind: type) -> dict[str, Any]:
    """Those of them that Keras writes into a configuration, with their defaults."""
    own = filter(is_tinynet_s, kind.__mro__)
    names = next((WRITTEN[base.__name__] for base in own if base.__name__ in WRITTEN), ())
    return {name: further(kind)[name] for name in names}


def refuse_of(part: object, given: Mapping[str, Any], *unknown_are: str) -> None:
    """`refuse` what the constructor of `part` was given."""
    refuse(type(part).__name__, given, further(type(part)), *unknown_are)


def refuse(
    where: str,
    arguments: Mapping[str, Any],
    keras_has: Mapping[str, Any] | None = None,
    unknown_are: str = "Unrecognized keyword arguments passed to {}",
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
