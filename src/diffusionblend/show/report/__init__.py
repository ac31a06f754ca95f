"""Reports: one self-contained page about reconstructions, and a picture for a README."""

from diffusionblend.show.report.model import Entry, Report
from diffusionblend.show.report.overview import overview
from diffusionblend.show.report.page import render, render_page, write_page, write_report

__all__ = [
    "Entry",
    "Report",
    "overview",
    "render",
    "render_page",
    "write_page",
    "write_report",
]
