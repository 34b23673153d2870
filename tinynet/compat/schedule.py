"""Learning rates: a number, a schedule by the number of steps, or a function.

`optimizers.schedules` has the schedules.
"""

import operator
import sys
import weakref
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import NoReturn, Self

from tinynet import backend, config
from tinynet.backend.types import Config, HostArray, Identifier, State
from tinynet.compat import naming, rules
from tinynet.compat.configuration import Configurable, as_config, functions_for


class LearningRateSchedule(Configurable):
    """The base of learning rates that depend on the number of steps; define `__call__`."""

    def __call__(self, step: int) -> float:
        """Return the learning rate of the step that follows `step` others."""
        raise NotImplementedError(f"{type(self).__name__} has to define __call__(step)")


class ExponentialDecay(LearningRateSchedule):
    """A learning rate that falls with the number t of steps done: η = η₀ rᵗᐟᵈ.

    Arguments:
        initial_learning_rate, decay_rate, decay_steps: η₀, r, and d, after which η is η₀ r.
        staircase: whether t/d is rounded down, so that η stays the same for d steps.

    Source: https://keras.io/api/optimizers/learning_rate_schedules/exponential_decay/
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, decay_steps
        self.decay_rate, self.staircase, self.name = decay_rate, staircase, name

    def __call__(self, step: float) -> float:
        # In float32, as in Keras: 10 / (10 / 3) is 3.
        periods = backend.host.float32(step) / backend.host.float32(self.decay_steps)
        with backend.ignore_overflow():
            return self.initial_learning_rate * self.decay_rate ** (  # type: ignore[return-value]
                backend.host.floor(periods) if self.staircase else periods
            )


class Rate(float):
    """A learning rate, with the methods of Keras's variable; `assign` sets the optimizer's."""

    def __new__(cls, value: float, optimizer: "HasLearningRate") -> Self:
        return super().__new__(cls, value)

    def __init__(self, value: float, optimizer: "HasLearningRate") -> None:
        self._optimizer = weakref.ref(optimizer)  # an optimizer is freed with its last reference

    def __reduce__(self) -> tuple[type, tuple[float]]:
        return float, (float(self),)

    def numpy(self) -> HostArray:
        return backend.host.asarray(self, config.floatx())[()]

    value = property(numpy)

    def assign(self, value: float) -> None:
        """Set the optimizer's learning rate."""
        optimizer = self._optimizer()
        if optimizer is not None:
            optimizer.learning_rate = value


class Fixed:
    """Where the learning rate comes from: it is `now` until it is set again."""

    def __init__(self, rate: float, optimizer: "HasLearningRate") -> None:
        self.rate, self.now = rate, Rate(rate, optimizer)


class Computed:
    """Where the learning rate comes from: a schedule, or a function."""

    def __init__(self, rate: Callable[..., float], optimizer: "HasLearningRate") -> None:
        self.rate, self._optimizer = rate, weakref.ref(optimizer)
        self._frozen: tuple[int, Rate] | None = None  # that of the step after so many others

    @property
    def now(self) -> Rate:
        optimizer = self._optimizer()
        assert optimizer is not None
        if self._frozen is not None and self._frozen[0] == optimizer.iterations:
            return self._frozen[1]
        given = [optimizer.iterations] if isinstance(self.rate, LearningRateSchedule) else []
        return Rate(rounded(self.rate(*given)), optimizer)

    def freeze(self, iterations: int) -> None:
        """Compute the rate once for all parts of a step."""
        self._frozen = None
        self._frozen = iterations, self.now


class HasLearningRate(Configurable):
    """The base of optimizers: their learning rate."""

    name: str
    iterations = 0
    _source: Fixed | Computed

    def _set_learning_rate(self, value: Identifier) -> None:
        if isinstance(value, Mapping) and naming.function_name(value) is not value:
            value = naming.lookup("learning rate function", naming.function_name(value), {})
        if isinstance(value, Mapping):
            value = naming.GETTERS["learning rate schedule"](value)
        if callable(value):
            self._source = Computed(value, self)
            return
        source = vars(self).get("_source")
        if source is not None and isinstance(source.rate, LearningRateSchedule):
            raise TypeError(
                f"Expected the learning rate of '{self.name}' to follow its schedule, received "
                f"learning_rate={naming.short(value)}. Write: optimizer.learning_rate = "
                "another schedule, or create the optimizer with a number"
            )
        self._source = Fixed(rounded(value), self)

    # The factor of each step, rounded to `floatx`, as in Keras. This getter is not Python's.
    learning_rate = property(operator.attrgetter("_source.now"), _set_learning_rate)
    # What it was set to: a number, a schedule or a function.
    set_rate = property(operator.attrgetter("_source.rate"))

    @property
    def lr(self) -> NoReturn:
        """Keras's former name of `learning_rate`; it can be neither read nor set."""
        raise AttributeError(
            f"Expected learning_rate, received {type(self).__name__}.lr, its name before Keras 3. "
            "Write: optimizer.learning_rate = 0.01"
        )

    @lr.setter
    def lr(self, value: object) -> None:
        self.lr  # noqa: B018, raises

    def get_config(self) -> Config:
        return {**super().get_config(), "learning_rate": as_config(self.set_rate)}

    @classmethod
    def from_config(
        cls, config: Config, custom_objects: Mapping[str, object] | None = None
    ) -> Self:
        """Return a new optimizer, created from what `get_config` returned."""
        with naming.custom_objects(custom_objects):
            return cls(**config)

    def __getstate__(self) -> State:
        return {**vars(self), "_source": self.set_rate}

    def __setstate__(self, state: State) -> None:
        vars(self).update(state)
        rate = vars(self).pop("_source")
        self._source = Computed(rate, self) if callable(rate) else Fixed(rate, self)


def rounded(rate: Identifier) -> float:
    """Return a learning rate as it is in `floatx`, or raise a ValueError if it is none."""
    return float(backend.host.asarray(rules.learning_rate(rate), config.floatx()))


def submodule(parent: str, name: str, *schedules: type[LearningRateSchedule]) -> ModuleType:
    """Return Keras's module `optimizers.schedules`, which can be imported, as `os.path` can."""
    module = ModuleType(f"{parent}.{name}", "Learning rates that depend on the number of steps.")
    sys.modules[module.__name__] = module
    known = {kind.__name__: kind for kind in schedules[1:]}
    _, serialize, deserialize = functions_for("learning rate schedule", schedules[0], known)
    functions: dict[str, object] = {"deserialize": deserialize, "serialize": serialize}
    vars(module).update({schedules[0].__name__: schedules[0]}, **known, **functions)
    for kind in schedules:
        kind.__module__ = module.__name__
    return module
