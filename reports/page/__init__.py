"""The report: one self-contained HTML page made from `Results`."""

from reports.page.build import render

__all__ = ["render"]
