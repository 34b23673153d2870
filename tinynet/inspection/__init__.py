"""Inspect a model: trace a batch, check gradients, find dead units, print the summary."""
