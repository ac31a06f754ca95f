"""The commands: frozen dataclasses whose docstrings are the help.

Nothing heavy is imported here: each command imports what it needs when it runs.
"""

from diffusionblend.commands.benchmark import Benchmark
from diffusionblend.commands.completion import Completion
from diffusionblend.commands.demo import Demo
from diffusionblend.commands.doctor import Doctor
from diffusionblend.commands.evaluate import Evaluate
from diffusionblend.commands.import_scan import Import
from diffusionblend.commands.info import Info
from diffusionblend.commands.push import Push
from diffusionblend.commands.reconstruct import Reconstruct
from diffusionblend.commands.report import Report
from diffusionblend.commands.simulate import Simulate
from diffusionblend.commands.train import Pack, Train
from diffusionblend.commands.view import View

__all__ = [
    "Benchmark",
    "Completion",
    "Demo",
    "Doctor",
    "Evaluate",
    "Import",
    "Info",
    "Pack",
    "Push",
    "Reconstruct",
    "Report",
    "Simulate",
    "Train",
    "View",
]
