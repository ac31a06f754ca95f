"""The command `info`: what this installation has, and what a single thing is."""

from dataclasses import dataclass
from pathlib import Path

from diffusionblend.cli.commands.arguments import OutputOrNone, Placed
from diffusionblend.cli.terminal import present, show
from diffusionblend.errors import UsageError


@dataclass(frozen=True)
class Info:
    """List methods, formats of volumes, priors, devices and versions; or say what one thing is.

    For a scan, `--output` draws the geometry and the sinogram.

    Examples:
        diffusionblend info
        diffusionblend info diffusionblend-fast
        diffusionblend info scan.h5 -o scan.png
    """

    about: Placed[str | None] = None
    """A method, for its options; a scan (.h5); or a volume."""
    output: OutputOrNone = None
    """Where the picture of the scan goes (.png)."""
    json: bool = False
    """Print the result as JSON."""

    def run(self) -> None:
        """Look around."""
        if self.about is not None and Path(self.about).suffix:
            present(Path(self.about), "expected a method, a scan (.h5) or a volume")
        from diffusionblend.io.scans import is_scan
        from diffusionblend.methods import method_names
        from diffusionblend.methods.registry import meant

        if self.about is not None and is_scan(Path(self.about)):
            return self._scan(Path(self.about))
        if self.output is not None:
            raise UsageError(
                f"--output {self.output}: draws a picture of a scan; give a scan (.h5)"
            )
        if self.about is None:
            return self._all()
        path, known = Path(self.about), method_names()
        if self.about in known:
            return self._method(self.about)
        if path.suffix or path.exists():
            return self._volume(path)
        raise UsageError(
            f"{self.about}: is neither a method nor a file; the methods are "
            f"{', '.join(known)}{meant(self.about)}"
        )

    def _method(self, name: str) -> None:
        import inspect

        from diffusionblend.methods import find_method
        from diffusionblend.methods.options import option_defaults

        cls = find_method(name)
        options = option_defaults(cls)
        lines = [f"{name}: {inspect.getdoc(cls)}", ""]
        lines += [f"{option} = {value}" for option, value in options.items()]
        show({"method": name, "options": options}, self.json, "\n".join(lines))

    def _volume(self, path: Path) -> None:
        from diffusionblend.io.formats.registry import reader_of
        from diffusionblend.io.volumes import read_shown

        volume = read_shown(path)
        low, high = float(volume.hu.min()), float(volume.hu.max())
        facts = {"format": reader_of(path).name, "shape": volume.hu.shape, "hu": [low, high]}
        facts |= {"spacing_mm": volume.grid.spacing_mm, "affine": volume.grid.affine}
        show({"volume": str(path), **facts}, self.json, f"{path}: {facts['format']}, {volume!r}")

    def _scan(self, path: Path) -> None:
        import json

        from diffusionblend.cli.commands.plan import geometry_in_words, in_words
        from diffusionblend.io.files import atomic, expect_suffix
        from diffusionblend.io.scans import read_scan

        if self.output is not None:
            expect_suffix(self.output, (".png",), "the picture")
        scan = read_scan(path)
        if self.output is not None:
            from diffusionblend.pictures.scanner import draw_scan

            with atomic(self.output) as temporary:
                draw_scan(scan.geometry, scan.y).save(temporary)
        facts = {
            "line_integrals": [float(scan.y.min()) + 0.0, float(scan.y.max()) + 0.0],  # no -0
            "photons": scan.noise.photons,
            "electronic": scan.noise.electronic,
            "mu_water_per_mm": scan.mu_water,
        }
        geometry = json.loads(scan.geometry.to_json())
        told = geometry_in_words(scan.geometry)
        told |= {name: in_words(value) for name, value in facts.items()} | scan.provenance
        everything = {"scan": str(path), "geometry": geometry, **facts}
        everything |= {"provenance": scan.provenance, "picture": self.output and str(self.output)}
        told |= {"picture": f"{self.output}: look at it"} if self.output else {}
        text = "\n".join(f"{name:18}{value}" for name, value in told.items())
        show(everything, self.json, f"{path}:\n{text}")

    def _all(self) -> None:
        import torch

        from diffusionblend.io.formats.registry import formats
        from diffusionblend.methods import method_names, methods
        from diffusionblend.prior import shipped_priors
        from diffusionblend.runs.provenance import versions

        gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        facts = {
            "methods": method_names(),
            "formats": [str(form) for form in formats()],
            "priors": list(shipped_priors()),
            "devices": ["cpu", *gpus],
            "versions": versions(),
        }
        words = {name: known.words for name, known in methods().items()}
        lines = [f"  {name:20}{words.get(name, 'of another package')}" for name in facts["methods"]]
        parts = {"methods": "\n".join(["`diffusionblend info METHOD` lists the options", *lines])}
        parts |= {name: ", ".join(facts[name]) for name in ("formats", "priors", "devices")}
        parts["versions"] = ", ".join(f"{name} {v}" for name, v in versions().items())
        show(facts, self.json, "\n".join(f"{name:10}{text}" for name, text in parts.items()))
