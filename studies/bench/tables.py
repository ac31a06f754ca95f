"""Tables of ratios: pure functions of what pytest-benchmark wrote.

A time is the shortest of its rounds, times `scale` where only a part was measured.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rivals import FEW, RIVALS

Records = Sequence[dict[str, Any]]
Times = dict[tuple[Any, ...], float]


def report(run: dict[str, Any], missing: Sequence[str]) -> str:
    """Return all tables as Markdown.

    Args:
        run: What pytest-benchmark writes as JSON.
        missing: Why something was not measured.
    """
    records, machine = run["studies"], run["machine_info"]
    parts = [
        f"{machine['cpu'].get('brand_raw', machine['machine'])}, {machine['threads']} threads, "
        f"torch {machine['torch']}, {run['datetime'][:10]}; load before the run "
        f"{machine['load_before']:.1f}. A time is the shortest of its rounds.",
        *projector(records),
        *consistency(records),
        *network(records),
        *reconstruction(records),
        *(f"Not measured: {reason}" for reason in missing),
    ]
    return "\n\n".join(parts) + "\n"


def projector(records: Records) -> list[str]:
    """Ours against the rivals."""
    times = seconds(records, "projector", "product", "views", "who")
    rows = []
    for product, views in dict.fromkeys(key[:2] for key in times):
        ours, *others = (times.get((product, views, who), math.nan) for who in ("ours", *RIVALS))
        rows.append(
            [product, views, ms(ours), *(f"{ms(t)} {ratio(t, ours)}".strip() for t in others)]
        )
    once = seconds(records, "projector-once", "views", "what")
    columns = ("making the matrices", "copying A^T y to slices first")
    extra = [
        [views, *(ms(once.get((views, what), math.nan)) for what in columns)]
        for views in dict.fromkeys(views for views, _ in once)
    ]
    return section(
        "Projector",
        "64 slices of 256 x 256, in ms; behind each rival's time, how many times ours that is. "
        f"scikit-image and ASTRA are measured on {FEW} slices and scaled to 64.",
        markdown(["product", "views", "ours", *RIVALS], rows),
    ) + section("", "", markdown(["views", *(f"{c} / ms" for c in columns)], extra))


def consistency(records: Records) -> list[str]:
    """A data-consistency step against the products that the paper's is made of."""
    products = seconds(records, "projector", "product", "views", "who")
    times = seconds(records, "consistency", "views", "step", "steps")
    rows = []
    for (views, step, steps), time in times.items():
        A, AT = (products.get((p, views, "rotation"), math.nan) for p in ("A", "A^T"))
        rotation = (steps + 1) * A + (steps + 2) * AT  # A^T A at its start and each step, A^T y
        first = next(t for key, t in times.items() if key[0] == views)
        rows.append([views, step, steps, ms(time), ratio(first, time), ratio(rotation, time)])
    return section(
        "Data consistency",
        "64 slices of 256 x 256. Speed-up is over the first of the same views; the last column is "
        "what the same number of products takes by rotation, from the table above.",
        markdown(["views", "step", "iterations", "ms", "speed-up", "rotation"], rows),
    )


def network(records: Records) -> list[str]:
    """A sweep against what a large matrix product reaches in the same precision."""
    rate = rates(records, "network", "precision", "batch")
    time = seconds(records, "network", "precision", "batch")
    slowest = max(time.values(), default=math.nan)
    limit: dict[str, float] = {}
    for (precision, _), found in rates(records, "matrix-product", "precision", "size").items():
        limit[precision] = max(found, limit.get(precision, 0))
    rows = [
        [
            precision,
            batch,
            f"{seen:.2f}",
            ratio(slowest, seen),
            number(rate[precision, batch] / 1e9),
            number(limit.get(precision, math.nan) / 1e9),
            percent(rate[precision, batch] / limit.get(precision, math.nan)),
        ]
        for (precision, batch), seen in time.items()
    ]
    return section(
        "Network",
        "One sweep of the prior `chest` over 48 slices of 256 x 256, adjacent groups. GFLOP/s are "
        "those of the convolutions, two operations a multiply-add; the limit is "
        "that of the fastest product of large matrices. Speed-up is over the slowest row.",
        markdown(
            ["precision", "batch", "s", "speed-up", "GFLOP/s", "limit", "of the limit"],
            rows,
        ),
    )


def reconstruction(records: Records) -> list[str]:
    """Whole reconstructions against the first."""
    infos = {r["extra_info"]["method"]: r["extra_info"] for r in of_group(records, "whole")}
    times = seconds(records, "whole", "method")
    whole = {name: times[name,] + info["seconds_left_out"] for name, info in infos.items()}
    first = next(iter(whole.values()), math.nan)
    rows = [
        [
            f"`{name}`",
            info["steps"],
            info["measured_steps"],
            f"{whole[name]:.1f}",
            ratio(first, whole[name]),
            percent(info["network_share"]),
            f"{info['peak_mib']:.0f}",
        ]
        for name, info in infos.items()
    ]
    return section(
        "Reconstruction",
        "48 slices of 256 x 256 from 8 views. Where fewer steps were measured, each of the others "
        "is taken to last as long as their mean. Speed-up is over the first row. The peak is "
        "that of a process of its own, of 20 steps.",
        markdown(
            ["method", "steps", "measured", "s", "speed-up", "in the network", "peak / MiB"],
            rows,
        ),
    )


def of_group(records: Records, group: str) -> Iterable[dict[str, Any]]:
    return (record for record in records if record["group"] == group)


def seconds(records: Records, group: str, *keys: str) -> Times:
    """Return the time of each record of a group, by what its `extra_info` says of `keys`."""
    return {
        tuple(r["extra_info"][key] for key in keys): r["stats"]["min"]
        * r["extra_info"].get("scale", 1)
        for r in of_group(records, group)
    }


def rates(records: Records, group: str, *keys: str) -> Times:
    """Return the floating-point operations a second of each record of a group."""
    return {
        tuple(r["extra_info"][key] for key in keys): r["extra_info"]["flop"] / r["stats"]["min"]
        for r in of_group(records, group)
    }


def section(title: str, text: str, table: str) -> list[str]:
    """Return the parts of a section, none if its table has no row."""
    return [part for part in (title and f"### {title}", text, table) if part] if table else []


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; nothing for no rows."""
    if not rows:
        return ""
    head, *body = ("| " + " | ".join(map(str, line)) + " |" for line in (header, *rows))
    return "\n".join([head, "|" + "---|" * len(header), *body])


def ms(time: float) -> str:
    return number(1e3 * time)


def ratio(time: float, ours: float) -> str:
    return number(time / ours, "x")


def percent(share: float) -> str:
    return number(100 * share, " %")


def number(value: float, unit: str = "") -> str:
    """Return two or more digits; nothing for what was not measured."""
    return "" if math.isnan(value) else f"{value:.{1 if value < 10 else 0}f}{unit}"
