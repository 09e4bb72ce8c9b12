"""Exports: a trained model in the form of another program, and the proof that it is the same model."""
