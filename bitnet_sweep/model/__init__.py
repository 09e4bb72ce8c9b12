"""Quantisers, BitLinear, Transformer. Importing the package stays free of torch; import the modules."""
