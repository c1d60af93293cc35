"""The report's pictures: matplotlib's SVG made part of a page, whose colours and fonts it takes."""

from __future__ import annotations

import io
import re
import warnings
from base64 import b64encode
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import imsave
from numpy.typing import NDArray

from .. import plot
from ..plot import style

# The colours of softmax.plot as those of the page, which are others in the dark.
COLORS = {
    style.INK: "var(--ink)",
    style.FAINT: "var(--line)",
    style.PAPER: "var(--page)",
    style.BLUE: "var(--blue)",
    style.ORANGE: "var(--orange)",
}
SVG: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "softmax", "svg.image_inline": True}


def learning(loss_curve: Sequence[float], validation_loss_curve: Sequence[float] | None) -> str:
    """The learning curves as SVG."""
    description = f"Loss falls from {loss_curve[0]:.4f} to {loss_curve[-1]:.4f}."
    return svg(plot.learning_curves(loss_curve, validation_loss_curve), "learning", description)


def reliability(
    probs: NDArray[np.float64], targets: NDArray[np.intp], before: NDArray[np.float64] | None = None
) -> str:
    """The reliability diagram as SVG, with that of the probabilities before calibration."""
    ax = plot.reliability(probs, targets, name="after calibration" if before is not None else None)
    if before is not None:
        plot.reliability(before, targets, name="before calibration", ax=ax)
    return svg(ax, "reliability", "Accuracy by confidence, in ten bins.")


def class_reliability(probs: NDArray[np.float64], targets: NDArray[np.intp], index: int) -> str:
    """A small reliability diagram of one class as SVG."""
    ax = plot.reliability(probs, targets, of_class=index, ax=style.new_axes(2.3, 1.9))
    ax.get_legend().remove()  # type: ignore[union-attr]
    ax.set(xlabel="its probability", ylabel="its share", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    return svg(ax, f"reliability{index}", "How often the class is the true one, by its probability, in ten bins.")


def risk_coverage(probs: NDArray[np.float64], targets: NDArray[np.intp]) -> str:
    """The risk-coverage curve as SVG."""
    return svg(plot.risk_coverage(probs, targets), "risk", "Share of wrong answers by share of rows answered.")


def confidence(probs: NDArray[np.float64], targets: NDArray[np.intp]) -> str:
    """The confidence histogram as SVG."""
    return svg(plot.confidence_histogram(probs, targets), "confidence", "Rows by confidence, right and wrong ones.")


def confusion(probs: NDArray[np.float64], targets: NDArray[np.intp], classes: Sequence[str]) -> str:
    """The confusion matrix as SVG."""
    return svg(plot.confusion(probs, targets, classes), "confusion", "Rows by true and predicted class.")


def weights(values: NDArray[np.float64], features: Sequence[str], index: int, name: str) -> str:
    """The largest weights of one class as SVG."""
    return svg(plot.top_features(values, features), f"weights{index}", f"The features that say most about {name}.")


def pixel_weights(values: NDArray[np.float64], shape: Sequence[int], index: int, name: str) -> str:
    """The weights of one class as an image, as SVG."""
    return svg(plot.pixel_weights(values, shape), f"weights{index}", f"Where bright pixels speak for {name}.")


def thumbnail(pixels: NDArray[Any]) -> str:
    """The address of an image that holds itself: grey pixels (height, width) or coloured ones (…, 3), from 0 to 1."""
    buffer = io.BytesIO()
    imsave(buffer, pixels, vmin=0, vmax=1, cmap="gray", format="png")
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"


def svg(ax: Axes, name: str, description: str) -> str:
    """The figure of `ax` as an SVG element; all ids in it begin with `name`, which no other picture of the page has."""
    buffer, figure = io.StringIO(), ax.get_figure(root=True)
    assert figure is not None
    with mpl.rc_context(SVG), warnings.catch_warnings():
        # The browser finds a font for what matplotlib's own lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.05)
    root = ElementTree.fromstring(buffer.getvalue())
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _adapted(_local(key), value, name) for key, value in element.attrib.items()}
        element.text, element.tail = (text if (text or "").strip() else None for text in (element.text, element.tail))
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in ("metadata", "style")]:  # the page has its own style
            parent.remove(child)
    _drop_unused_ids(root)
    for attribute in "width", "height", "version":
        del root.attrib[attribute]
    width = float(root.attrib["viewBox"].split()[2])
    root.attrib |= {"role": "img", "aria-label": description, "style": f"max-width: {width * 1.25:.0f}px"}
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    """A name without its namespace, which an HTML page does not need."""
    return name.rpartition("}")[2]


def _adapted(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    value = value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = re.sub(r"font: ([\d.]+)px [^;]*", r"font-size: \1px", value)  # by versions of matplotlib: in one
        value = re.sub(r"font-family: [^;]*;?\s*", "", value)  # or apart
    if key in ("style", "fill", "stroke"):
        value = re.sub("#[0-9a-f]{6}", lambda color: COLORS.get(color[0], color[0]), value)
    if key == "d":
        value = re.sub(r"(\.\d\d)\d+", r"\1", " ".join(value.split()))
    return value


def _drop_unused_ids(root: ElementTree.Element) -> None:
    used = set()
    for element in root.iter():
        for value in element.attrib.values():
            used |= set(re.findall(r"url\(#([^)]+)\)", value)) | set(re.findall(r"^#(.+)$", value))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
