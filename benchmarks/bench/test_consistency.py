"""A data-consistency step: CG from an estimate."""

from diffusionblend.consistency import data_consistency

CG_STEPS = 5


def test_data_consistency(benchmark, A, x):
    y, estimate = A(x), x.roll(9, dims=1)  # far enough that CG does not stop before its last step
    benchmark.group = "consistency"
    benchmark.extra_info |= {"views": A.sinogram_shape[1], "steps": CG_STEPS}
    benchmark.pedantic(
        data_consistency, (A, y, estimate), {"steps": CG_STEPS}, rounds=5, warmup_rounds=1
    )
