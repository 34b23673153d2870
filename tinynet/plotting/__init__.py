"""Pictures: of digits and predictions, of a training, of a network, and of what it has learned.

Each function draws on the Axes it is given or on a figure of its own, and returns the Axes. It
shows, saves and closes nothing: the caller goes on with `matplotlib.pyplot.show()`, `close()` or
``ax.figure.savefig("digits.png", dpi=150)``. Nothing is said by colour alone: the colours are
Okabe and Ito's, for all eyes, and a marker, a dash, a frame or a word says the same in greyscale.
"""

from tinynet.plotting.curves import plot_history
from tinynet.plotting.learned import (
    plot_activations,
    plot_confusion,
    plot_distributions,
    plot_mistakes,
    plot_weights,
)
from tinynet.plotting.pictures import plot_digits, plot_network, plot_predictions

__all__ = [
    "plot_activations",
    "plot_confusion",
    "plot_digits",
    "plot_distributions",
    "plot_history",
    "plot_mistakes",
    "plot_network",
    "plot_predictions",
    "plot_weights",
]
