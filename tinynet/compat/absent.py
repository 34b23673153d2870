"""What Keras has and tinynet does not, on purpose, with the reason and the way on.

One table for the attributes and methods of classes, and one for arguments; both by class (or
method), and both are compared with Keras's own classes in the tests.
"""

import inspect
from collections.abc import Iterable, Mapping

from tinynet.backend.types import Config, Identifier
from tinynet.compat import missing as tables
from tinynet.compat.missing import joined
from tinynet.compat.naming import is_builtin, short

# Reasons, as ends of sentences
_SYMBOLS = "arrays are computed at once, and there are no symbolic tensors. Write: layer(x)"
_TYPES = "all numbers are float32, or float64. Write: model.save, and quantize it in Keras"
_MASKS = "no layer here has masks. Use Keras for this model"
_FORWARD = "Write: forward(x, training) and backward(gradient)"
_STATELESS = "objects keep their state. Write: copy.deepcopy, and the ordinary method"
_LOOP = "there is no automatic differentiation. Write: a loop around model.train_on_batch(x, y)"
_PENALTY = "Write: penalty(self), and its gradient in backward"
_SLOTS = "Write: slots = ('name',) in the class, which update receives as arrays"
_ONE_LOSS = "there is one loss. Write: a Loss of your own"
_UPDATE = "Write: update(weights, gradient, *state, scratch), a Loss or a Callback"
_TREE = "Write: get_weights and set_weights, and optimizer.get_state and set_state"
_KERNELS = "only kernels are regularized. Write: kernel_regularizer"
_LIMITS = "weights have no limits. Write: a Callback that changes layer.kernel[...]"
_AVERAGES = "Write: a Callback that averages model.get_weights()"
_FLOAT32 = "float32 needs no scaled loss. Leave it out"
_AXES = "the last two axes of a shape are a kernel's inputs and units. Write: scale, for others"
_DENSE = "arrays here are dense. Write: x.toarray()"

_LAYER = {
    "add_loss": _PENALTY,
    "add_metric": "Write: compile(metrics=[…])",
    "add_variable": "Write: add_weight",
    "call": _FORWARD,
    "compute_mask": _MASKS,
    "compute_output_spec": "Write: compute_output_shape(input_shape)",
    "rematerialized_call": "layers always keep what backward needs. Leave it out",
    "stateless_call": _STATELESS,
    "symbolic_call": _SYMBOLS,
    **dict.fromkeys(("quantize", "quantized_build", "quantized_call"), _TYPES),
    "autocast": _TYPES,
    "activity_regularizer": _PENALTY,
    "call_signature_parameters": _FORWARD,
    "supports_jit": "nothing is compiled by JAX here. Leave it out",
}

# The attributes of Keras's classes that tinynet's do not have, by the name of the base class here.
ATTRIBUTES: dict[str, dict[str, str]] = {
    "LayerBase": _LAYER,
    "Dropout": {"seed_generator": "Write: Dropout(rate, seed=1)"},
    "Dense": dict.fromkeys(("enable_lora", "lora_enabled", "variable_serialization_spec"), _TYPES),
    "Network": {
        **_LAYER,
        "add_weight": "a model's weights are those of its layers. Write: a Layer with the weight",
        **dict.fromkeys(
            (
                "train_step",
                "test_step",
                "predict_step",
                "train_function",
                "test_function",
                "predict_function",
                "make_train_function",
                "make_test_function",
                "make_predict_function",
                "compute_loss",
                "compute_loss_and_updates",
                "compute_metrics",
                "stateless_compute_loss",
            ),
            _LOOP,
        ),
        **dict.fromkeys(("get_state_tree", "set_state_tree", "jax_state_sync"), _TREE),
        "get_metrics_result": "Write: evaluate(x, y, return_dict=True)",
        "get_quantization_layer_structure": _TYPES,
        "export": "Write: model.save, and export it in Keras",
        "steps_per_execution": "steps are done one at a time",
    },
    "Loss": {"fn": "Write: call(y_true, y_pred)"},
    "Metric": {
        **dict.fromkeys(
            ("stateless_reset_state", "stateless_result", "stateless_update_state"), _STATELESS
        ),
    },
    "OptimizerBase": {
        **dict.fromkeys(
            ("add_variable", "add_optimizer_variables", "add_variable_from_reference"), _SLOTS
        ),
        **dict.fromkeys(("assign", "assign_add", "assign_sub"), "Write: array[...] = values"),
        "stateless_apply": _STATELESS,
        "update_step": _UPDATE,
        "finalize_variable_values": _AVERAGES,
        "scale_loss": _FLOAT32,
    },
}

# The arguments that Keras has and tinynet lacks, by class or method: their defaults and reasons.
ARGUMENTS: dict[str, dict[str, tuple[object, str]]] = {
    "LayerBase": {"activity_regularizer": (None, _PENALTY), "autocast": (True, _TYPES)},
    "Dense": {
        "bias_regularizer": (None, _KERNELS),
        "kernel_constraint": (None, _LIMITS),
        "bias_constraint": (None, _LIMITS),
        "lora_rank": (None, _TYPES),
        "lora_alpha": (None, _TYPES),
        "quantization_config": (None, _TYPES),
    },
    "InputLayer": {
        "sparse": (None, _DENSE),
        "ragged": (None, _DENSE),
        "optional": (False, "a model has one input, which it needs"),
        "tensor": (None, _SYMBOLS),
        "input_tensor": (None, _SYMBOLS),
    },
    "VarianceScaling": {"input_axes": (None, _AXES), "output_axes": (None, _AXES)},
    "OptimizerBase": {
        "use_ema": (False, _AVERAGES),
        "ema_momentum": (0.99, _AVERAGES),
        "ema_overwrite_frequency": (None, _AVERAGES),
        "loss_scale_factor": (None, _FLOAT32),
        "gradient_accumulation_steps": (None, "Write: a larger batch_size"),
    },
    "BackupAndRestore": {"double_checkpoint": (False, "a file is replaced in one step")},
    "add_weight": {
        "dtype": (None, "a layer's weights have its dtype. Write: dtype of the layer"),
        "autocast": (True, _TYPES),
        "regularizer": (None, _PENALTY),
        "constraint": (None, _LIMITS),
        "aggregation": ("none", "there is one device"),
        "overwrite_with_gradient": (False, "weights are changed by the optimizer"),
    },
    "compile": {
        "loss_weights": (None, _ONE_LOSS),
        "weighted_metrics": (None, "metrics are not weighted. Write: a Metric of your own"),
        "run_eagerly": (False, "everything is computed at once"),
        "steps_per_execution": (1, "steps are done one at a time"),
        "jit_compile": ("auto", "nothing is compiled by JAX here"),
        "auto_scale_loss": (True, _FLOAT32),
    },
    "load_weights": {
        "by_name": (None, "Write: layer.set_weights, for model.get_layer(name)"),
        "objects_to_skip": (None, "Write: layer.set_weights, for the other layers"),
    },
    "save_weights": {"max_shard_size": (None, "weights are written to one file")},
    "save": {
        "save_format": (None, 'the name ends in the format. Write: model.save("model.keras")'),
        "include_optimizer": (True, "Write: model.save_weights, or load_model(…, compile=False)"),
    },
}


def missing(kind: type, name: str) -> str | None:
    """Return the message for an attribute of Keras's that a class lacks, or None for another."""
    for base in kind.__mro__:
        arguments, attributes = ARGUMENTS.get(base.__name__, {}), ATTRIBUTES.get(base.__name__, {})
        if name in arguments or name in attributes:
            reason = arguments[name][1] if name in arguments else attributes[name]
            return f"Keras's {kind.__name__}.{name} is not part of tinynet{joined(reason)}"
    return None


def mistaken(kind: type, name: str, known: Iterable[str]) -> str | None:
    """Return the message for a former name, or if one of Keras's alone is the most like `name`."""
    bases = [base.__name__ for base in kind.__mro__]
    for base in bases:
        if name in tables.former(base):
            way = tables.former(base)[name][1]
            return f"Keras 3 no longer has {kind.__name__}.{name}{joined(way)}"
    others = {n for base in bases for t in (ARGUMENTS, ATTRIBUTES) for n in t.get(base, ())}
    best = tables.closest(name, known, others)
    if best not in others:
        return None  # Python itself suggests one of `known`
    return f"{no_attribute(kind, name)}. Did you mean {best!r}? {missing(kind, best)}"


def no_attribute(kind: type, name: str) -> str:
    return f"'{kind.__name__}' object has no attribute '{name}'"


def instead(kind: Identifier, unknown: Mapping[str, object], where: str = "") -> str:
    """Return what to write instead of arguments that a class or function does not take.

    Arguments:
        where: the name under which former arguments of a function are listed.
    """
    from tinynet.compat.former import ARGUMENTS as FORMER

    bases = getattr(kind, "__mro__", (kind,))
    places = [*(base.__name__ for base in bases), where]
    former = {old: new for place in places for old, new in FORMER.get(place, {}).items()}
    own = next((base for base in bases if is_builtin(base)), object)
    known, write, leave = inspect.signature(own).parameters, [], []
    for name, value in unknown.items():
        new = former.get(name) or tables.closest(name, known, ())
        if new is None or ("=" in new and not value):
            leave.append(name)
        else:
            write.append(new if "=" in new else f"{new}={short(value)}")
    advice = [(f"Write: {', '.join(write)}", write), (f"Leave {', '.join(leave)} out", leave)]
    return ". ".join(text for text, names in advice if names)


def refused(where: str, name: str, value: str, default: object) -> str:
    """Return the message for an argument of Keras's that a class or method here lacks."""
    reason = next(table[name][1] for table in ARGUMENTS.values() if name in table)
    return (
        f"{where} was given {name}={value}, which Keras supports, but tinynet does not"
        f"{joined(reason)}. Leave {name} out (its default is {default!r}), or use Keras for this "
        "model."
    )


def defaults(where: str) -> Config:
    """Return the defaults of the arguments of Keras's that a class or method here lacks."""
    return {name: default for name, (default, _) in ARGUMENTS.get(where, {}).items()}
