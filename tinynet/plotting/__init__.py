"""Plots of digits and predictions, of training curves, of networks and what they have learned.

Each function draws on the given Axes or on a new figure, and returns the Axes. It does not show,
save or close the figure: call `matplotlib.pyplot.show()`, `close()` or
``ax.figure.savefig("digits.png", dpi=150)`` afterwards. No information is in colour alone: the
colours are Okabe and Ito's and, for signs, Paul Tol's (both colour-blind safe), and markers,
dashes, frames or words repeat it.
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
