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
from diffusionblend.cli.commands.reconstruct import Reconstruct
from diffusionblend.cli.commands.report import Report
from diffusionblend.cli.commands.simulate import Simulate
from diffusionblend.cli.commands.train import Pack, Push, Train
from diffusionblend.cli.commands.view import View

GROUPS: dict[str, dict[str, type]] = {
    "first": {"demo": Demo, "info": Info, "doctor": Doctor},
    "reconstruct": {
        "simulate": Simulate,
        "import": Import,
        "calibrate": Calibrate,
        "reconstruct": Reconstruct,
        "batch": Batch,
    },
    "judge and look": {"evaluate": Evaluate, "report": Report, "view": View},
    "research": {"benchmark": Benchmark, "pack": Pack, "train": Train, "push": Push},
    "shell": {"completion": Completion},
}
COMMANDS = {name: command for some in GROUPS.values() for name, command in some.items()}
