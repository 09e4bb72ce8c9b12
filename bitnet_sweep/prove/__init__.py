"""Whether a training can be forked, killed and repeated: all of it is done, and every bit compared.

``shorten`` makes a short run of a config, ``trainings`` trains it in several ways, each in a temporary store
and in fresh processes (``child``), ``store.compare`` finds the first thing that differs. It knows no model.
"""
