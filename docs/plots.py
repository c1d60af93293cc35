"""Draws the curves of docs/losses.md into docs/images/: `.venv/bin/python docs/plots.py` (needs matplotlib).

Colours of middling lightness on no background, so that a picture reads on a light page and on a dark one.
"""

import io
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softmax import cross_entropy, log_sigmoid, log_softmax, sigmoid, softmax, value_and_grad

IMAGES = Path(__file__).parent / "images"
GREY, FAINT = "#808080", "#80808040"
COLOURS = ["#3d85c6", "#e0701a", "#2f9e62", "#a864c8", "#d64560"]
RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "softmax",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
} | dict.fromkeys(
    ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), GREY
)

ODDS = np.linspace(-6, 6, 97)
ODDS_LABEL = "log-odds of the target"


def panels(xlabel: str, *titles: str) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(3.6 * len(titles), 2.7))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08)
    axes = [figure.add_subplot(1, len(titles), i + 1, title=title, xlabel=xlabel) for i, title in enumerate(titles)]
    return figure, axes


def loss_and_slope(classes: int = 2, **options: object) -> tuple[np.ndarray, np.ndarray]:
    """Of rows whose first class has the log-odds ODDS against all others, which are alike: by the first logit."""
    logits = np.zeros((ODDS.size, classes))
    logits[:, 0] = ODDS + np.log(classes - 1)
    targets = np.zeros(ODDS.size, int)
    losses, slopes = value_and_grad(cross_entropy)(logits, targets, reduction="none", **options)
    return losses, slopes[:, 0]


def curves(axes: list[Axes], label: str, classes: int = 2, **options: object) -> None:
    for ax, y in zip(axes, loss_and_slope(classes, **options), strict=True):
        ax.plot(ODDS, y, label=label)


def plot_cross_entropy() -> Figure:
    figure, axes = panels(ODDS_LABEL, "loss", "gradient by the target's logit")
    curves(axes, "−log p")
    axes[0].plot(ODDS, np.maximum(-ODDS, 0), "--", color=GREY, lw=1, label="max(−odds, 0)")
    axes[1].plot([], [])
    axes[1].lines[0].set_label("p − 1")
    for ax in axes:
        ax.legend()
    return figure


def plot_label_smoothing() -> Figure:
    figure, axes = panels(ODDS_LABEL, "loss, 10 classes", "gradient by the target's logit")
    for alpha in (0.0, 0.1, 0.3):
        curves(axes, f"α = {alpha:g}", 10, label_smoothing=alpha)
    axes[0].legend()
    axes[1].axhline(0, color=GREY, lw=0.8)
    return figure


def plot_weights() -> Figure:
    figure, axes = panels(ODDS_LABEL, "loss of one row", "gradient by the target's logit")
    for weight in (1.0, 2.0, 4.0):
        curves(axes, f"weight {weight:g}", class_weight=[weight, 1.0])
    axes[0].legend()
    return figure


def plot_focal() -> Figure:
    figure, axes = panels("probability of the target", "loss", "gradient by the target's logit")
    probs = sigmoid(ODDS)
    for gamma in (0.0, 0.5, 1.0, 2.0, 5.0):
        for ax, y in zip(axes, loss_and_slope(gamma=gamma), strict=True):
            ax.plot(probs, y, label=f"γ = {gamma:g}")
    axes[0].set_ylim(0, 5)
    axes[0].legend()
    return figure


def plot_z_loss() -> Figure:
    figure, axes = panels("what is added to all logits", "loss of (2, 0, −1)", "sum of the gradient")
    shifts = np.linspace(-12, 12, 97)
    logits = np.array([2.0, 0.0, -1.0]) + shifts[:, np.newaxis]
    for z_loss in (0.0, 1e-3, 1e-2):
        losses, slopes = value_and_grad(cross_entropy)(
            logits, np.zeros(shifts.size, int), z_loss=z_loss, reduction="none"
        )
        axes[0].plot(shifts, losses, label=f"z = {z_loss:g}")
        axes[1].plot(shifts, slopes.sum(axis=-1))
    axes[0].set_ylim(0)
    axes[0].legend()
    return figure


def plot_softcap() -> Figure:
    figure, axes = panels("logit", "logit that is used", "factor of the gradient")
    x = np.linspace(-100, 100, 101)
    axes[0].plot(x, x, "--", color=GREY, lw=1, label="no cap")
    for cap in (50.0, 30.0, 10.0):
        axes[0].plot(x, cap * np.tanh(x / cap), label=f"c = {cap:g}")
        axes[1].plot(x, 1 - np.tanh(x / cap) ** 2)
    axes[0].legend()
    return figure


def plot_binary_cross_entropy() -> Figure:
    figure, axes = panels("logit", "loss", "gradient by the logit")
    x, p = ODDS, sigmoid(ODDS)
    axes[0].plot(x, -log_sigmoid(x), label="target 1")
    axes[0].plot(x, -log_sigmoid(-x), label="target 0")
    axes[0].plot(x, -3 * log_sigmoid(x), "--", color=COLOURS[0], lw=1.2, label="1, pos_weight 3")
    axes[1].plot(x, p - 1)
    axes[1].plot(x, p)
    axes[1].plot(x, 3 * (p - 1), "--", color=COLOURS[0], lw=1.2)
    axes[0].set_ylim(0, 12)
    axes[0].legend(loc="upper right")
    return figure


def plot_kl_divergence() -> Figure:
    """Of p = (p, 1 - p) from q = (q, 1 - q)."""
    figure, axes = panels("log-odds of q", "KL(p‖q)", "gradient by the first logit of q")
    q_logits = np.stack([ODDS, np.zeros_like(ODDS)], axis=-1)
    for p in (0.5, 0.8, 0.98):
        target = np.array([p, 1 - p])
        axes[0].plot(ODDS, (target * (np.log(target) - log_softmax(q_logits))).sum(axis=-1), label=f"p = {p:g}")
        axes[1].plot(ODDS, softmax(q_logits)[:, 0] - p)
    axes[0].set_ylim(0)
    axes[0].legend()
    axes[1].axhline(0, color=GREY, lw=0.8)
    return figure


def plot_linear_cross_entropy() -> Figure:
    """Sizes, not measurements: float32, 8192 rows of 512 features."""
    figure, (ax,) = panels("classes K", "memory in MB")
    rows, features, classes = 8192, 512, np.geomspace(1e3, 256e3, 50)
    mb = 4 / 1e6
    ax.loglog(classes, 2 * rows * classes * mb, color=COLOURS[1], label="logits and their gradient")
    ax.loglog(classes, (rows + classes) * features * mb, color=COLOURS[0], label="gradients of features and weight")
    ax.set_xticks([1e3, 1e4, 1e5], ["1,000", "10,000", "100,000"])
    ax.set_yticks([1e1, 1e2, 1e3, 1e4], ["10", "100", "1,000", "10,000"])
    ax.minorticks_off()
    ax.legend(loc="upper left")
    figure.set_size_inches(4.6, 2.9)
    return figure


def svg(figure: Figure) -> str:
    """Without what no one sees: comments, and coordinates beyond a hundredth of a point."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.S)
    text = re.sub(r'(?<= d=")[^"]+', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", " ".join(path[0].split())), text)
    return re.sub(r"\n\s*", "\n", text)


PLOTS = {name.removeprefix("plot_"): draw for name, draw in dict(globals()).items() if name.startswith("plot_")}


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with mpl.rc_context(RC):
        for name, draw in PLOTS.items():
            (IMAGES / f"{name}.svg").write_text(svg(draw()), encoding="utf-8")


if __name__ == "__main__":
    main()
