"""One file a claim or a few that belong together; each holds a list ``CLAIMS`` and is found by itself."""

FINAL = "000_1851e7a7862617ed.txt"
"""The notes on all four sizes."""

CRITICAL = "003_b01be378b0eb2ad1.txt"
"""The notes on hidden 256, written before the other sizes were through."""

SIZES = "model.hidden=256,512,768,1024"
NOTES_TEXT = "scale=notes data=wikitext2"
"""The setting that numbers of the notes are held against."""

EVERY_SIZE = 3
"""Sizes that a claim about every size must have been seen at, each with enough seeds: two tell no third."""

SEEDS = "seed=1,2,3"
"""As many as a verdict needs (``claim.ENOUGH_SEEDS``)."""
