"""Draws the chart of the libraries: `python -m benchmarks --peers --plot FILE`.  Needs matplotlib.

python -m benchmarks.peer_plot results.json chart.png           from figures measured before
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import attrs
import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot, ticker

OWN, OTHERS, BASE = "#d9480f", "#adb5bd", "#495057"
INK, FAINT = "#212529", "#868e96"


@attrs.frozen
class Panel:
    """One chart: a figure, what it says, and whether less is better."""

    key: str
    title: str
    unit: str
    less_is_better: bool
    remark: str = ""


PANELS = (
    Panel("small.p50", "Small blocking call, median", "µs", True),
    Panel("pipelined.rate", "Pipelined small calls", "calls/s", False, "Pyro5: all calls in one message"),
    Panel("array_16.rate", "16 MiB array, there and back", "GB/s", False),
    Panel("first.ms", "Cold start: create to first reply", "ms", True),
)


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw all charts into one file."""
    figure, axes = pyplot.subplots(2, 2, figsize=(13, 9.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.2, h_pad=0.15, wspace=0.03, hspace=0.03)
    for panel, axis in zip(PANELS, axes.flat, strict=True):
        draw_panel(axis, panel, found["peers"])
    machine = found["machine"]
    figure.suptitle("piactors and other libraries", fontsize=16, fontweight="bold", color=INK)
    figure.supxlabel(
        f"log scales; medians of {found['rounds']} rounds in turns; {machine['cpu']}, {machine['cores']} cores, "
        f"Linux {machine['kernel']}, {machine['python']}; {found['date'][:10]}",
        fontsize=9,
        color=FAINT,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def draw_panel(axis: Any, panel: Panel, peers: dict[str, Any]) -> None:
    """Draw one chart, the best on top; who has no such figure is named below it."""
    pairs = {name: peer["figures"].get(panel.key) for name, peer in peers.items()}
    known = sorted((name for name in pairs if pairs[name]), key=pairs.__getitem__, reverse=not panel.less_is_better)
    values = [pairs[name] for name in known]
    bars = axis.barh(range(len(known)), values, color=[colour(name) for name in known], height=0.72)
    axis.bar_label(bars, [short(value) for value in values], padding=4, fontsize=9, color=INK)
    axis.set_yticks(range(len(known)), [peers[name]["title"] for name in known], fontsize=10, color=INK)
    for name, label in zip(known, axis.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if name == "piactors" else "normal")
    decorate(axis, panel, values)
    missing = [peers[name]["title"] for name in pairs if not pairs[name]]
    remarks = [panel.remark] * bool(panel.remark) + [f"no figure: {', '.join(missing)}"] * bool(missing)
    axis.text(1, -0.1, "; ".join(remarks), transform=axis.transAxes, ha="right", fontsize=8, color=FAINT)


def decorate(axis: Any, panel: Panel, values: list[float]) -> None:
    """Set the scale, the title and what is drawn around the bars."""
    better = "less is better" if panel.less_is_better else "more is better"
    axis.set_title(f"{panel.title} ({panel.unit}, {better})", loc="left", fontsize=11, fontweight="bold", color=INK)
    if values:  # there is no logarithm of nothing
        axis.set_xscale("log")
        axis.set_xlim(min(values) / 2, max(values) * 3)  # room for the labels; the shortest bar still shows
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: short(value)))
    axis.xaxis.set_minor_formatter(ticker.NullFormatter())
    axis.tick_params(axis="x", labelsize=8, colors=FAINT)
    axis.tick_params(axis="x", which="minor", length=0)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#e9ecef")
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def colour(name: str) -> str:
    """Return the colour of a library's bar: piactors stands out, and so does what all are compared with."""
    return {"piactors": OWN, "pipe": BASE}.get(name, OTHERS)


def short(value: float) -> str:
    """Return a value as text that is short enough for a label."""
    if value >= 10_000:
        return f"{value / 1000:,.0f}k"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> int:
    """Draw from a file."""
    source, target = map(Path, sys.argv[1:])
    draw(json.loads(source.read_text()), target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
