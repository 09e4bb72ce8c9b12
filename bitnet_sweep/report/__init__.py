"""From stores to tables, figures and one page: ``python -m bitnet_sweep.report STORE... --out DIR``.

It reads the store's files and nothing else: no torch, no Hydra. W&B is imported only to read a W&B project.
"""

from bitnet_sweep.report.write import Report, make_report, write_report

__all__ = ["Report", "make_report", "write_report"]
