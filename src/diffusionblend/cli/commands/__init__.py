"""The commands: frozen dataclasses whose docstrings are the help.

Nothing heavy is imported here: each command imports what it needs when it runs.
"""

from diffusionblend.cli.commands.batch import Batch
from diffusionblend.cli.commands.benchmark import Benchmark
from diffusionblend.cli.commands.calibrate import Calibrate
from diffusionblend.cli.commands.completion import Completion
from diffusionblend.cli.commands.demo import Demo
from diffusionblend.cli.commands.doctor import Doctor
from diffusionblend.cli.commands.evaluate import Evaluate
from diffusionblend.cli.commands.import_scan import Import
from diffusionblend.cli.commands.info import Info
from diffusionblend.cli.commands.push import Push
from diffusionblend.cli.commands.reconstruct import Reconstruct
from diffusionblend.cli.commands.report import Report
from diffusionblend.cli.commands.simulate import Simulate
from diffusionblend.cli.commands.train import Pack, Train
from diffusionblend.cli.commands.view import View

__all__ = [
    "Batch",
    "Benchmark",
    "Calibrate",
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
