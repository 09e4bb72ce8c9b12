"""The engine: a grid as a tree of stages, one job, and what a user sees of both."""
