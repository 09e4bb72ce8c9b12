"""Evaluations: what lm-evaluation-harness says of a run's exported model, kept in the store."""
