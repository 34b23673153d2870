"""Describe the loss and the optimizers with which the page takes steps of its own."""

from tinynet import initializers, losses, optimizers
from tinynet.backend.types import Config, Model
from tinynet.layers import Dense, Dropout

# What the page can compute: losses, each with the output activation that it is combined with, and
# the settings of optimizers. A model that was compiled with anything else gets a note that says so.
LOSSES = {
    losses.CategoricalCrossentropy: ("categorical_crossentropy", "softmax"),
    losses.SparseCategoricalCrossentropy: ("categorical_crossentropy", "softmax"),
    losses.BinaryCrossentropy: ("binary_crossentropy", "sigmoid"),
    losses.MeanSquaredError: ("mean_squared_error", None),
}
FITTING = {"softmax": "categorical_crossentropy", "sigmoid": "binary_crossentropy"}
SETTINGS = {
    optimizers.Adam: ("learning_rate", "beta_1", "beta_2", "epsilon"),
    optimizers.SGD: ("learning_rate", "momentum", "nesterov"),
}


def describe_learning(model: Model, top: str, trains: bool = False) -> Config:
    """Return the page's loss (None if it has none), its optimizers, and notes in words.

    Arguments:
        top: the activation of the last layer, which decides on the loss if there is none yet.
        trains: whether the page has samples on which to train from nothing.
    """
    loss, chosen = FITTING.get(top, "mean_squared_error"), Config()
    note = "The model was not compiled: the page chose the loss and the optimizer."
    if model.compiled:
        loss, refusal = describe_loss(model.loss_object, top)
        if refusal:
            return {"loss": None, "optimizers": [], "notes": [refusal]}
        chosen, note = describe_optimizer(model.optimizer)
    notes = [note] if note else []
    for layer in model.layers:
        if isinstance(layer, Dropout) and layer.rate:
            notes.append(f"The page's steps leave out the dropout of {layer.name}.")
        if isinstance(layer, Dense) and layer.kernel_regularizer is not None:
            notes.append(f"The page's steps leave out the regularizer of {layer.name}.")
        learns = trains and model.trainable and layer.trainable
        if learns and isinstance(layer, Dense) and not has_start(layer):
            notes.append(f"From nothing, {layer.name} starts with glorot_uniform and zeros here.")
    others = [
        describe_optimizer(kind(name=""))[0]
        for kind in SETTINGS
        if kind is not type(model.optimizer)
    ]
    return {"loss": loss, "optimizers": [chosen, *others] if chosen else others, "notes": notes}


def has_start(layer: Dense) -> bool:
    """Return whether the page can draw first weights as the layer's own initializers do."""
    kernel, bias = layer.kernel_initializer, layer.bias_initializer
    return (
        isinstance(kernel, initializers.VarianceScaling)
        and type(kernel).__module__ == initializers.__name__  # a subclass may draw in another way
        and (not layer.use_bias or type(bias) is initializers.Zeros)
    )


def describe_start(layer: Dense) -> Config:
    """Return the distribution of the layer's first weights, or Keras's default in its place."""
    own = layer.kernel_initializer if has_start(layer) else initializers.GlorotUniform()
    return {key: getattr(own, key) for key in ("scale", "mode", "distribution")}


def describe_loss(loss: losses.Loss, top: str) -> tuple[str, str]:
    """Return the page's name of the loss, and ``""``; or ``""``, and why the page has none."""
    kind = type(loss).__name__
    if type(loss) not in LOSSES:
        return "", f"The page learns with cross-entropy or the mean squared error, not with {kind}."
    if note := describe_missing(loss, ("reduction", "from_logits")):
        return "", note  # of a single sample, every reduction is the same
    name, needed = LOSSES[type(loss)]
    if loss.get_config().get("from_logits"):
        kind, needed = f"{kind}(from_logits=True)", "linear"
    if needed not in (None, top):
        return "", f"The page's {kind} needs {needed} outputs; those of this model are {top}."
    return name, ""


def describe_optimizer(optimizer: optimizers.Optimizer) -> tuple[Config, str]:
    """Return the settings that the page has, none for another optimizer, and a note or ``""``."""
    name, known = type(optimizer).__name__, SETTINGS.get(type(optimizer))
    if known is None:
        return {}, f"The model was compiled with {name}: the page has Adam and SGD."
    settings = {key: getattr(optimizer, key) for key in known}  # of a schedule, the rate now
    missing = [
        *["learning-rate schedule"] * callable(optimizer.set_rate),
        *["memory of the steps in Python"] * bool(optimizer.slots and optimizer.iterations),
    ]
    return {"name": name, **settings}, describe_missing(optimizer, known, *missing)


def describe_missing(
    part: losses.Loss | optimizers.Optimizer, known: tuple[str, ...], *missing: str
) -> str:
    """Return a note on unusual settings that the page does not know, ``""`` if there are none."""
    given, usual = part.get_config(), type(part)(name=part.name).get_config()
    others = [key for key in usual if given[key] != usual[key] and key not in known]
    listed = ", ".join([*missing, *(f"{key}={given[key]}" for key in others)])
    return f"The page's {type(part).__name__} has no {listed}." if listed else ""
