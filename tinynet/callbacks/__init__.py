"""Callbacks: what happens around training, from a record of it to stopping early.

`base` has the contract, `history` the records, `monitors` what watches a number from epoch to
epoch, `backup` what lets a training go on that was stopped.
"""

from typing import TYPE_CHECKING, Any

from tinynet.callbacks.backup import BackupAndRestore as BackupAndRestore
from tinynet.callbacks.base import Callback as Callback, LambdaCallback as LambdaCallback
from tinynet.callbacks.history import Distributions as Distributions, History as History
from tinynet.callbacks.monitors import (
    EarlyStopping as EarlyStopping,
    ModelCheckpoint as ModelCheckpoint,
    TerminateOnNaN as TerminateOnNaN,
)

if TYPE_CHECKING:
    from tinynet.plotting.live import LivePlot as LivePlot


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # `LivePlot` draws, and so is part of `plotting`, which is above this file.
        if name != "LivePlot":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tinynet.plotting.live import LivePlot

        return LivePlot
