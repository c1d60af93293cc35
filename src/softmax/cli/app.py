"""The commands and their options. What they do is imported only when they run: `softmax --help` has to be quick."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from .. import __version__
from .console import Problem, Status

app = typer.Typer(
    name="softmax",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="From a model's scores to probabilities, a trained classifier, and a decision.",
    epilog="New here? Try: softmax demo. Exit status: 0 done, 1 the work failed, 2 the input is wrong.",
)


class NumbersCommand(TyperCommand):
    """A command whose words may be negative numbers, which are no options, with or without "--" before them."""

    ignore_unknown_options = True

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        return super().parse_args(ctx, [word for word in args if word != "--"])


class Activation(str, Enum):
    """Activation functions of the hidden layers."""

    RELU = "relu"
    TANH = "tanh"


def _option(help: str, metavar: str, *names: str, default: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, show_default=default or True)


Temperature = Annotated[float, _option("Divide the scores by it: above 1 evens out, below 1 sharpens.", "T")]
Report = Annotated[str | None, _option("Write a report to look at in a browser.", "FILE.html", default="none")]
MODEL = "A model that softmax train has saved."
TABLE = typer.Argument(
    help="A .csv, .tsv or .jsonl file (or .gz, .zst of it), .parquet, .npy, .npz, .safetensors, fastText's .txt or "
    ".ft, a folder of images, or - for CSV on stdin.",
    metavar="DATA",
)


def run(words: list[str]) -> None:
    """Run the command line `words`; raises whatever goes wrong."""
    code = typer.main.get_command(app).main(words, prog_name="softmax", standalone_mode=False)
    if code == Status.INTERRUPTED:  # what some versions of typer make of Ctrl-C
        raise KeyboardInterrupt


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error came from.")] = False,
) -> None:
    """`--traceback` is taken out of the words before they come here, so that it may stand anywhere."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command(cls=NumbersCommand)
def apply(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Numbers, or a .csv, .npy, .npz or .parquet file.", metavar="NUMBERS|FILE|-"),
    ] = None,
    axis: Annotated[int, _option("0: down the columns; -1: along the rows.", "N")] = -1,
    temperature: Temperature = 1.0,
    log: Annotated[bool, typer.Option("--log", help="Print the logarithms of the probabilities.")] = False,
    output: Annotated[str | None, _option("Write to a file of one of these types.", "FILE", "-o", "--output")] = None,
) -> None:
    """Softmax of numbers, of a file, or of stdin.

    Each row of a table is one softmax; a text of one number a line is one, too. A header is kept.

    Example: softmax apply 0.7 1.5 4.8
    """
    from .apply import apply

    apply(words or [], axis, temperature, log, output)


@app.command(cls=NumbersCommand)
def explain(
    numbers: Annotated[list[str], typer.Argument(help="One score a class.", metavar="NUMBERS")],
    labels: Annotated[str, _option("Names of the classes, separated by commas.", "NAMES", default="0,1,2...")] = "",
    temperature: Temperature = 1.0,
    plot: Annotated[
        str | None, _option("Draw the steps, too, in a .svg, .png or .pdf file.", "FILE", default="none")
    ] = None,
) -> None:
    """Every step of one softmax, and sigmoid beside it.

    Example: softmax explain 2.33 -1.46 0.56 --labels cat,dog,boat
    """
    from .apply import explain

    explain(numbers, _names(labels), temperature, plot)


@app.command()
def train(
    data: Annotated[str, TABLE],
    target: Annotated[
        str | None,
        _option(
            "The column that holds the class, or a file of labels.", "COLUMN|FILE", default="label of texts, images"
        ),
    ] = None,
    hidden: Annotated[str, _option("Neurons in each hidden layer, such as 64,32.", "SIZES", default="none")] = "",
    activation: Annotated[Activation, typer.Option(help="Of the hidden layers.")] = Activation.RELU,
    alpha: Annotated[
        float | None, _option("Strength of the penalty on large weights.", "X", default="0.01, with texts 0.1")
    ] = None,
    max_iter: Annotated[int, _option("Iterations at most.", "N")] = 200,
    seed: Annotated[int, _option("The same seed gives the same model.", "N")] = 0,
    text: Annotated[
        list[str] | None, _option("Columns of free text, separated by commas.", "NAMES", default="found")
    ] = None,
    numeric: Annotated[list[str] | None, _option("Columns of numbers.", "NAMES", default="found")] = None,
    categorical: Annotated[list[str] | None, _option("Columns of categories.", "NAMES", default="found")] = None,
    drop: Annotated[list[str] | None, _option("Columns to leave out.", "NAMES", default="none")] = None,
    test: Annotated[str | None, _option("A table to test on.", "FILE", default="a fifth of DATA, held out")] = None,
    test_target: Annotated[
        str | None, _option("Its classes: a column, or a file of labels.", "COLUMN|FILE", default="as --target")
    ] = None,
    output: Annotated[
        str | None, _option("Where to save the model.", "FILE", "-o", "--output", default="DATA's name.skops")
    ] = None,
    report: Report = None,
) -> None:
    """Train a classifier on a table, texts or images, and test it.

    Numbers are scaled, dates become numbers, each category and each word of a text gets a weight of its own, and
    missing values are filled in. The test is on rows that were not trained on. Ctrl-C keeps the best model so far.

    Example: softmax train iris.csv --target species
    """
    from .columns import Said
    from .training import Training, train

    layers = tuple(_neurons(word) for word in _names(hidden))
    training = Training(layers, activation.value, alpha, max_iter, seed)
    said = Said(*(_names(",".join(option or [])) for option in (numeric, categorical, text, drop)))
    train(data, target, training, said, test, test_target, output, report)


@app.command()
def predict(
    models: Annotated[list[str], typer.Argument(help=f"{MODEL} Of several, the mean is taken.", metavar="MODEL")],
    data: Annotated[str, TABLE],
    output: Annotated[
        str | None, _option("A .csv, .tsv, .parquet or .jsonl file.", "FILE", "-o", "--output", default="CSV on stdout")
    ] = None,
    top_k: Annotated[int | None, _option("Write only the K most probable classes.", "K", default="all")] = None,
    abstain_below: Annotated[
        float | None, _option("Predict nothing where the confidence is below P.", "P", default="never")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Write the columns of DATA, too.")] = False,
) -> None:
    """Predict classes and probabilities with one or more models.

    The table is read and written in parts: it may be larger than the memory. Several models of the same classes answer
    with the mean of their probabilities.

    Example: softmax predict iris.skops new.csv --abstain-below 0.7
    """
    from .predicting import predict

    predict(models, data, output, top_k, abstain_below, keep)


@app.command()
def evaluate(
    models: Annotated[list[str], typer.Argument(help=f"{MODEL} Of several, the mean is taken.", metavar="MODEL")],
    data: Annotated[str, TABLE],
    target: Annotated[
        str | None,
        _option("The column that holds the class, or a file of labels.", "COLUMN|FILE", default="as trained"),
    ] = None,
    report: Report = None,
) -> None:
    """Test one or more models on a table that holds the true classes.

    Example: softmax evaluate iris.skops new.csv --report iris.html
    """
    from .evaluate import evaluate

    evaluate(models, data, target, report)


@app.command()
def calibrate(
    logits: Annotated[
        str,
        typer.Argument(
            help="Scores or probabilities of rows that the model was not trained on, a column a class: .npy, .npz, "
            ".safetensors, .csv, .tsv, .jsonl or .parquet.",
            metavar="LOGITS",
        ),
    ],
    target: Annotated[
        str, _option("The true classes: a column or array of LOGITS, or a file of labels.", "COLUMN|FILE")
    ],
    output: Annotated[
        str | None,
        _option("Save it for TemperatureScaling.load.", "FILE.json", "-o", "--output", default="not saved"),
    ] = None,
) -> None:
    """Find the temperature at which any model's confidence holds.

    Labels are class indices from 0, or names of the columns. One column is the score of the second of two classes.

    Example: softmax calibrate logits.npy --target labels.npy
    """
    from .calibrate import calibrate

    calibrate(logits, target, output)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help=MODEL, metavar="MODEL")],
    output: Annotated[str, typer.Argument(help="The .onnx file to write.", metavar="FILE")],
) -> None:
    """Write a model as one ONNX file.

    The graph goes from the columns of a table to classes and probabilities. It is written once onnxruntime has given
    the same probabilities as the model.

    Example: softmax export iris.skops iris.onnx
    """
    from .export import export

    export(model, output)


@app.command()
def demo(
    output: Annotated[str, _option("Where to save the model.", "FILE", "-o", "--output")] = "digits.skops",
) -> None:
    """See it all at work on real handwritten digits."""
    from .demo import demo

    demo(output)


@app.command()
def info() -> None:
    """Show the version, processor features and packages in use."""
    from .info import info

    info()


def _names(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]


def _neurons(word: str) -> int:
    if not (word.isdecimal() and int(word) > 0):
        raise Problem(f"--hidden: {word!r} is not a number of neurons, write for example --hidden 64,32")
    return int(word)
