"""How fast a step is, beside other ways to compute it; run by `make bench` and `make profile`."""
