"""The report: one self-contained HTML page made from `Results`."""

from reports.page.build import begin_to_render, render

__all__ = ["begin_to_render", "render"]
