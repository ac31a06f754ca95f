"""Reports: one self-contained page about a reconstruction, and a picture for a README."""

from diffusionblend.report.page import Entry, Report, overview, render, write_report

__all__ = ["Entry", "Report", "overview", "render", "write_report"]
