"""What turns the pages into a training: the stack and its one vector of weights, batches, sums, the
state of a training, rollback, advice.
"""
