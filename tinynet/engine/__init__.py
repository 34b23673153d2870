"""The training engine: the stack of layers and its vector of weights, batches, running sums,
evaluation, the state of a training run, rollback, and advice.
"""
