"""The report of `softmax train` and `softmax evaluate`: what it says, and that it is one file, safe and complete."""

import functools
import io
import re
import subprocess
import sys
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import sklearn.metrics
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_iris

from softmax import softmax
from softmax.metrics import bootstrap_intervals
from softmax.report import Column, Subject, render
from softmax.report.scores import class_scores, confused_pairs, worst_mistakes

SCRIPT = "<script>alert(1)</script>"
VOID = {"meta", "link", "br", "img", "input", "path", "rect", "use"}


class Page(HTMLParser):
    """What a browser makes of an HTML file: elements, attributes, and the text that is shown."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts, self.open = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def values(self, name):
        return [value for key, value in self.attributes if key == name]


def table(data, names):
    head = [re.sub(r" \(cm\)", "", name) for name in data.feature_names]
    lines = [",".join(map(str, [*row, names[label]])) for row, label in zip(data.data, data.target, strict=True)]
    return "\n".join([",".join([*head, "kind"]), *lines]) + "\n"


@pytest.fixture
def iris(tmp_path):
    (tmp_path / "iris.csv").write_text(table(load_iris(), ["setosa", "versicolor", "virginica"]))


def subject(n=200, k=3, d=5, seed=0, **changes):
    rng = np.random.default_rng(seed)
    probs = softmax(rng.normal(size=(n, k)) * 2)
    return replace(
        Subject(
            title="Classifier of kind",
            target="kind",
            classes=[f"class {i}" for i in range(k)],
            probs=probs,
            targets=(probs.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=k - 1),
            rows=np.arange(1, n + 1) * 10,
            values=lambda i: {"width": f"value {i}"},
            tested="of new.csv",
            facts=[("model", "softmax regression")],
            columns=[Column("width", "numeric", 3, 40, "1 to 9")],
            train_counts=np.full(k, 77),
            loss_curve=[1.0, 0.5, 0.25],
            weights=rng.normal(size=(d, k)),
            features=[f"feature {i}" for i in range(d)],
        ),
        **changes,
    )


@functools.cache
def plain():
    return render(subject())


# the file


def test_the_report_says_all_that_it_should():
    page = Page(plain())
    for heading in [
        "Accuracy", "Log-loss", "Brier score", "Calibration error", "Confusion matrix", "Most confused classes",
        "Every class", "Reliability diagram", "Confidence histogram", "Most confident mistakes", "What it goes by",
        "What was trained", "Learning curves", "The data",
    ]:  # fmt: skip
        assert heading in page.text
    assert page.tags.count("svg") == 5 + 3 + 3  # and two a class, of its reliability and of weights
    assert "width numeric 3 40 1 to 9" in page.text
    assert "class 0 77 " in page.text
    assert "tested on 200 rows of new.csv" in page.text


@pytest.mark.parametrize("place", ["title", "target", "classes", "values", "tested", "facts", "columns", "features"])
def test_markup_in_the_data_is_text(place):
    evil = {
        "title": SCRIPT,
        "target": SCRIPT,
        "classes": [SCRIPT, f'"><img src=x onerror={SCRIPT}>', "]]>" + SCRIPT],
        "values": lambda i: {SCRIPT: SCRIPT},
        "tested": SCRIPT,
        "facts": [(SCRIPT, SCRIPT)],
        "columns": [Column(SCRIPT, SCRIPT, 0, 0, SCRIPT)],
        "features": [SCRIPT] * 5,
    }
    page = Page(render(subject(**{place: evil[place]})))
    tame = Page(plain())
    assert set(page.tags) == set(tame.tags)
    assert {key for key, _ in page.attributes} == {key for key, _ in tame.attributes}
    assert "<script>alert(1" in page.text
    assert "<script>alert(1" not in tame.text


def test_names_of_any_characters_are_drawn():
    names = ["猫 \U0001f408", "a\x00b\x1b\n", "$x^2$"]
    page = Page(plain())
    odd = Page(render(replace(subject(), classes=names, features=[*names, "e\u0301", "&amp;"])))
    assert page.tags == odd.tags
    assert "猫" in odd.text
    assert "$x^2$" in odd.text
    assert "&amp;" in odd.text


def test_ids_are_unique_and_what_refers_to_them_finds_them():
    html = render(subject(k=12))
    page = Page(html)
    ids = page.values("id")
    assert len(ids) > 10
    assert len(ids) == len(set(ids))
    referred = re.findall(r"url\(#([^)]+)\)", html) + [value.removeprefix("#") for value in page.values("href")]
    assert set(referred) == set(ids)


def test_the_file_needs_nothing_else():
    html = plain()
    page = Page(html)
    assert re.findall(r"https?:|@import|url\((?!#)", html) == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert [value for value in page.values("href") if not value.startswith("#")] == []


def test_pictures_take_the_colours_and_the_font_of_the_page():
    html = plain()
    style, body = html.split("</style>")
    assert re.findall(r"#[0-9a-f]{6}\b|font-family|font:", body) == []
    used = set(re.findall(r"var\((--\w+)\)", html))
    light, dark = style.split("prefers-color-scheme: dark")
    assert used <= set(re.findall(r"(--\w+):", light))
    assert set(re.findall(r"(--\w+): #", light)) == set(re.findall(r"(--\w+): #", dark))


def test_the_same_subject_gives_the_same_bytes():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_report as t; print(t.render(t.subject()))"
    command = [sys.executable, "-c", code, str(__file__).rpartition("/")[0]]
    other = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    assert other == plain() + "\n"
    assert render(subject(seed=1)) != plain()
    assert re.search(r"20\d\d-\d\d-\d\d", other) is None


def test_thousands_of_classes_and_features_stay_under_two_megabytes():
    html = render(subject(n=4000, k=5000, d=2000))
    assert len(html.encode()) < 1_000_000
    assert "The 200 commonest of 5,000 classes" in Page(html).text
    assert html.count("<svg") == 4 + 12 + 12


def test_nothing_to_test_on():
    page = Page(render(subject(n=0)))
    assert "Not tested" in page.text
    assert "Accuracy" not in page.text
    assert "Learning curves" in page.text


def test_a_network_has_no_weights_to_show():
    assert "What it goes by" not in render(subject(weights=None))


def test_no_mistakes():
    page = Page(render(subject(probs=np.eye(3)[np.arange(200) % 3], targets=np.arange(200) % 3)))
    assert "None of the 200 rows is predicted wrongly" in page.text
    assert "Most confused classes" not in page.text
    assert "Most confident mistakes" not in page.text


@pytest.mark.parametrize(
    ("confidence", "verdict"),
    [
        (0.99, "On average 99.00 % confident and 80.00 % right: over-confident."),
        (0.8, "about 80 % confidence, 80.00 % were right: as good as its word, within chance."),
        (0.6, "about 60 % confidence, 80.00 % were right: under-confident."),
    ],
)
def test_the_verdict_on_confidence(confidence, verdict):
    probs, targets = np.tile([confidence, 1 - confidence], (500, 1)), (np.arange(500) % 5 == 0).astype(int)
    text = Page(render(subject(k=2, probs=probs, targets=targets, rows=np.arange(500)))).text
    assert verdict in text


def test_before_and_after_calibration_are_shown_in_words_and_in_one_picture():
    right = np.arange(500) % 5 > 0
    probs, before = (np.tile([1 - sure, sure], (500, 1)) for sure in (0.79, 0.97))
    html = render(subject(k=2, probs=probs, probs_before=before, targets=right.astype(int), rows=np.arange(500)))
    text = Page(html).text
    assert "After calibration: of the answers given with about 80 % confidence, 80.00 % were right: as good" in text
    assert "Calibration error 1.00 %." in text
    assert "Before it: on average 97.00 % confident and 80.00 % right: over-confident. Calibration error 17." in text
    assert html.count("after calibration</text>") == html.count("before calibration</text>") == 1
    assert "before calibration" not in plain()


def test_what_abstaining_buys_is_said():
    confidence = np.linspace(0.6, 0.99, 100)  # the 20 least sure ones are wrong
    probs, targets = np.stack([1 - confidence, confidence], axis=1), (np.arange(100) >= 20).astype(int)
    text = Page(render(subject(k=2, probs=probs, targets=targets, rows=np.arange(100)))).text
    sure = confidence[10]
    assert f"With confidence {100 * sure:.2f} % or more, 90.00 % are answered, 88.89 % of them rightly." in text


def test_few_of_many_classes_have_a_picture_of_their_reliability():
    html = render(subject(n=2000, k=15))
    assert html.count("How often the class is the true one, by its probability, in ten bins.") == 12
    assert "The 12 commonest classes." in Page(html).text


# the tables


@pytest.mark.parametrize("classes", [2, 7])
def test_scores_of_the_classes_are_those_of_scikit_learn(classes):
    s = subject(k=classes)
    expected = sklearn.metrics.precision_recall_fscore_support(s.targets, s.probs.argmax(axis=1))
    for ours, theirs in zip(class_scores(s.probs, s.targets), expected, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_a_class_that_is_never_there_or_never_predicted_has_no_score():
    scores = class_scores(np.array([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]]), np.array([0, 1]))
    np.testing.assert_array_equal(scores.precision, [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(scores.recall, [1, 0, np.nan])


def test_confused_pairs_are_those_of_the_confusion_matrix():
    s = subject(n=1000, k=4)
    matrix = sklearn.metrics.confusion_matrix(s.targets, s.probs.argmax(axis=1))
    pairs = confused_pairs(s.probs, s.targets, most=5)
    off_diagonal = np.sort(matrix[~np.eye(4, dtype=bool)])[::-1]
    assert [rows for _, _, rows, _ in pairs] == off_diagonal[:5].tolist()
    for true, guess, rows, share in pairs:
        assert true != guess
        assert rows == matrix[true, guess]
        assert share == rows / matrix[true].sum()


def test_worst_mistakes_come_in_the_order_of_their_confidence():
    s = subject()
    wrong = np.flatnonzero(s.probs.argmax(axis=1) != s.targets)
    expected = wrong[np.argsort(-s.probs[wrong].max(axis=1))]
    assert worst_mistakes(s.probs, s.targets, most=4) == expected[:4].tolist()
    assert worst_mistakes(s.probs, s.targets, most=500) == expected.tolist()


def test_mistakes_name_their_row_in_the_file_and_its_values():
    s = subject()
    text = Page(render(s)).text
    first = worst_mistakes(s.probs, s.targets)[0]
    true, guess = s.classes[s.targets[first]], s.classes[s.probs[first].argmax()]
    assert f"{s.rows[first]:,} {true} {guess} {100 * s.probs[first].max():.2f} %" in text
    assert f"width value {first} " in text


@pytest.mark.parametrize("shape", [(2, 3), (2, 1, 3)])
def test_images_are_shown_as_what_the_model_read_and_where_it_looked(shape):
    asked = []

    def pixels(i):
        asked.append(i)
        return np.linspace(0, 1, 6).reshape(shape)

    s = subject(d=6, features=[f"pixel_{i}" for i in range(6)], image_shape=shape, pixels=pixels)
    page = Page(render(s))
    sources = page.values("src")
    assert asked == worst_mistakes(s.probs, s.targets)
    assert len(sources) == len(asked)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    image = np.asarray(Image.open(io.BytesIO(b64decode(sources[0].partition(",")[2]))).convert("RGB"))
    np.testing.assert_allclose(image.ravel()[[0, -1]], [0, 255])
    assert image.shape == (*shape[:2], 3)
    assert "bright pixel speaks for the class" in page.text
    assert "pixel_0" not in page.text


# the commands


def test_train_reports_on_the_rows_held_out(run, iris, tmp_path):
    status, out, err = run("train", "iris.csv", "--target", "kind", "--seed", "1", "--report", "iris.html")
    assert status == 0
    assert "note" not in err
    assert out.endswith("Wrote iris.html\n")
    text = Page((tmp_path / "iris.html").read_text(encoding="utf-8")).text
    assert "3 classes, tested on 30 rows of iris.csv that were not trained on" in text
    accuracy = re.search(r"accuracy +(\S+ %)", out)[1]
    assert f"Accuracy {accuracy}" in text
    assert "setosa 40 10" in text
    assert "alpha 0.01" in text
    assert "petal width" in text
    # The row is that of the file: its values are found there.
    row, true = re.search(r"and what the model read\. row true predicted confidence of true (\d+) (\w+)", text).groups()
    line = (tmp_path / "iris.csv").read_text().splitlines()[int(row)].split(",")
    assert line[-1] == true
    assert f"sepal length {float(line[0]):g} sepal width {float(line[1]):g}" in text


def test_a_table_to_test_on(run, iris, tmp_path):
    lines = (tmp_path / "iris.csv").read_text().splitlines(keepends=True)
    (tmp_path / "new.csv").write_text("".join([lines[0], *lines[40:80]]))
    assert run("train", "iris.csv", "--target", "kind", "--test", "new.csv", "--report", "r.html")[0] == 0
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "tested on 40 rows of new.csv" in text
    assert "setosa 50 11" in text


@pytest.mark.parametrize("options", [[], ["--hidden", "5"]])
def test_evaluate_prints_scores_and_reports(run, iris, tmp_path, options):
    run("train", "iris.csv", "--target", "kind", *options)
    status, out, err = run("evaluate", "iris.skops", "iris.csv", "--report", "iris.html")
    assert (status, err) == (0, "")
    assert run("predict", "iris.skops", "iris.csv", "-o", "p.csv")[0] == 0
    probs = np.loadtxt(tmp_path / "p.csv", delimiter=",", skiprows=1, usecols=(2, 3, 4))
    value, low, _ = bootstrap_intervals(probs, np.repeat([0, 1, 2], 50))["accuracy"]
    assert f"accuracy           {100 * value:.2f} %  {100 * low:.2f} % to " in out
    assert re.findall(r"^  ([\w -]+?)  +\d", out, re.M) == [
        "score",
        "accuracy",
        "log-loss",
        "Brier score",
        "calibration error",
    ]
    page = Page((tmp_path / "iris.html").read_text(encoding="utf-8"))
    assert "tested on 150 rows of iris.csv" in page.text
    assert ("What it goes by" in page.text) == (not options)
    assert f"{100 * low:.2f} % to " in page.text.replace("\xa0", " ")


def test_weights_of_two_classes_speak_for_the_second(run, tmp_path):
    (tmp_path / "x.csv").write_text("x,kind\n" + "".join(f"{i},{'ab'[i > 20]}\n" for i in range(40)))
    run("train", "x.csv", "--target", "kind", "--report", "x.html")
    html = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "The features that say most about b." in html
    assert "The features that say most about a." not in html
    assert "What speaks against it speaks for a." in Page(html).text
    picture = html[html.index("The features that say most about b.") :]
    picture = picture[: picture.index("</svg>")]
    assert "var(--blue)" in picture
    assert "var(--orange)" not in picture  # the larger x, the more likely b


def test_names_of_features_are_those_of_the_columns(run, tmp_path):
    data = "a__b,city,kind\n" + "".join(f"{i},{['Oslo', 'Rome'][i % 2]},{'xyz'[i % 3]}\n" for i in range(60))
    (tmp_path / "x.csv").write_text(data)
    run("train", "x.csv", "--target", "kind", "--report", "x.html")
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert {"a__b", "city_Oslo", "city_Rome"} <= set(page.texts)


def test_a_real_table_of_two_classes(run, tmp_path):
    (tmp_path / "x.csv").write_text(table(load_breast_cancer(), [SCRIPT, "benign"]))
    run("train", "x.csv", "--target", "kind", "--report", "x.html")
    html = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert SCRIPT in Page(html).text
    assert "<script" not in html
    assert len(html) < 300_000


@pytest.mark.parametrize("command", [["train", "iris.csv", "--target", "kind"], ["evaluate", "m.skops", "iris.csv"]])
@pytest.mark.parametrize(
    ("report", "message"),
    [
        ("r.pdf", "r.pdf: cannot write this type of file, only .html, .htm"),
        ("none/r.html", "r.html: the folder"),
        (".", "cannot write this type of file"),
    ],
)
def test_a_report_that_cannot_be_written_is_named_before_any_work(run, iris, tmp_path, command, report, message):
    status, out, err = run(*command, "--report", report)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iris.csv"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("sepal length\n1\n", "new.csv: has no column 'kind'"),
        ("kind\nrose\n", "class 'rose' is not in the training data"),
        ("kind\nsetosa\n", "column 'sepal length' is missing"),
        ("kind,x\n,1\n", "1 label is missing"),
    ],
)
def test_evaluate_names_what_is_wrong_with_the_table(run, iris, tmp_path, data, message):
    run("train", "iris.csv", "--target", "kind")
    (tmp_path / "new.csv").write_text(data)
    status, out, err = run("evaluate", "iris.skops", "new.csv", "--report", "r.html")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_without_the_extra_one_line_says_so_and_all_else_works(run, iris, tmp_path, package):
    code = f"import sys; sys.modules['{package}'] = None; from softmax.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "train", "iris.csv", "--target", "kind"]
    done = subprocess.run([*words, "--report", "r.html"], cwd=tmp_path, capture_output=True, text=True)
    line = f"softmax: this needs {package}, which is not installed: pip install 'softmax[report]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    assert not (tmp_path / "iris.skops").exists()
    assert subprocess.run(words, cwd=tmp_path, capture_output=True).returncode == 0


def test_the_library_says_so_too():
    code = "import sys; sys.modules['jinja2'] = None; import softmax.report"
    last = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.splitlines()[-1]
    assert last.endswith(
        "softmax.report needs jinja2 and matplotlib, and not both are installed: pip install 'softmax[report]'"
    )


@pytest.mark.parametrize("words", [["--help"], ["evaluate", "--help"], ["train", "iris.csv", "--target", "kind"]])
def test_matplotlib_is_imported_for_reports_only(iris, tmp_path, words):
    code = "import sys; from softmax.cli import main; main(sys.argv[1:]); assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, check=True, capture_output=True)
