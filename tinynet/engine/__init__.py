"""What turns the pages into a training: the stack and its one vector of weights, batches, sums,
where a training is, roll-back, advice.
"""
