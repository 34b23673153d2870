"""Callbacks: hooks into training, from recording its history to stopping it early.

`base` has the interface, `history` the records, `monitors` the callbacks that watch a number from
epoch to epoch, `learning_rate` those that change the learning rate, and `backup` the one that
resumes interrupted training.
"""

from typing import TYPE_CHECKING

from tinynet.callbacks.backup import BackupAndRestore as BackupAndRestore
from tinynet.callbacks.base import Callback as Callback, LambdaCallback as LambdaCallback
from tinynet.callbacks.history import Distributions as Distributions, History as History
from tinynet.callbacks.learning_rate import (
    LearningRateScheduler as LearningRateScheduler,
    ReduceLROnPlateau as ReduceLROnPlateau,
)
from tinynet.callbacks.monitors import (
    EarlyStopping as EarlyStopping,
    ModelCheckpoint as ModelCheckpoint,
    TerminateOnNaN as TerminateOnNaN,
)
from tinynet.compat import missing

if TYPE_CHECKING:
    from tinynet.plotting.live import LivePlot as LivePlot


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # `LivePlot` is part of `plotting`, which imports this package: import it only on demand.
        if name != "LivePlot":
            return missing.find(__name__, name)
        from tinynet.plotting.live import LivePlot

        return LivePlot
