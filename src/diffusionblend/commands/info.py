"""What there is."""

from dataclasses import dataclass

import tyro

from diffusionblend.terminal import show


@dataclass(frozen=True)
class Info:
    """List methods, priors, devices and versions; or, given a method, its options."""

    method: tyro.conf.Positional[str | None] = None
    """A method."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Look around."""
        if self.method is None:
            self._all()
        else:
            self._one(self.method)

    def _one(self, name: str) -> None:
        import inspect

        from diffusionblend.methods import find_method
        from diffusionblend.reconstruction import option_defaults

        cls = find_method(name)
        options = option_defaults(cls)
        lines = [f"{name}: {inspect.getdoc(cls)}", ""]
        lines += [f"{option} = {value}" for option, value in options.items()]
        show({"method": name, "options": options}, self.json, "\n".join(lines))

    def _all(self) -> None:
        import torch

        from diffusionblend.methods import method_names
        from diffusionblend.prior import shipped_priors
        from diffusionblend.provenance import versions

        gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        facts = {
            "methods": method_names(),
            "priors": list(shipped_priors()),
            "devices": ["cpu", *gpus],
            "versions": versions(),
        }
        parts = {name: ", ".join(facts[name]) for name in ("methods", "priors", "devices")}
        parts["versions"] = ", ".join(f"{name} {v}" for name, v in versions().items())
        show(facts, self.json, "\n".join(f"{name:10}{text}" for name, text in parts.items()))
