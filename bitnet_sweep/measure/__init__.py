"""Tensors to numbers: what a probe reads off a model, under the names of ``records.FIELDS``.

Nothing here changes a weight, a module's mode or a generator. Importing the package stays free of torch;
import the modules.
"""
