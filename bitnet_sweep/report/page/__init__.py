"""``report.html``: everything on one self-contained page; whatever a store holds is shown as text."""

from bitnet_sweep.report.page.html import page
from bitnet_sweep.report.page.provenance import provenance

__all__ = ["page", "provenance"]
