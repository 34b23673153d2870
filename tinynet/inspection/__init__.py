"""Looking inside: every number of a batch, gradients checked, units that are dead, the summary."""
