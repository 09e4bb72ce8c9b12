"""The schedule as steps, the optimizer, checkpoints, and one explicit loop that yields what happens."""
