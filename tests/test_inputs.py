"""Every kind of input gives the same model, whole or in parts, and what is wrong with one is told by its place."""

import gzip
import json
import sys

import numpy as np
import polars as pl
import pytest
import zstandard
from PIL import Image

from softmax.cli import images, tables, textfiles
from softmax.cli.console import Problem
from softmax.cli.tables import Layout, read_parts, read_table

NAMES = np.array(["cat", "dog", "emu"])


def embeddings(rows=90, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    return (np.eye(4)[y] + rng.normal(0, 0.3, (rows, 4))).astype(np.float32), NAMES[y]


def frame(rows=90):
    X, names = embeddings(rows)
    return pl.DataFrame({"x": X[:, 0], "y": X[:, 1], "z": X[:, 2], "name": names})


def lines(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    words = {"cat": "meow purr fur", "dog": "bark woof fetch", "emu": "run feather bird"}
    names = rng.choice(NAMES, rows)
    return "".join(f"__label__{name} {' '.join(rng.choice(words[name].split(), 4))}\n" for name in names)


def write_safetensors(path, **tensors):
    header, data = {"__metadata__": {"made": "here"}}, b""
    for name, (dtype, array) in tensors.items():
        end = len(data) + array.nbytes
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [len(data), end]}
        data += array.tobytes()
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)


def write_images(folder, rows=30, size=(12, 10), seed=0):
    rng = np.random.default_rng(seed)
    for i in range(rows):
        name = NAMES[i % 3]
        (folder / name).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 60, (size[1], size[0], 3)).astype(np.uint8)
        pixels[..., i % 3] += 100
        Image.fromarray(pixels).save(folder / name / f"{i}.png")


# tables


PACK = {"": lambda data: data, ".gz": gzip.compress, ".zst": zstandard.compress}


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "ndjson"])
def test_text_formats_hold_the_same_table(tmp_path, kind, packed):
    table = frame()
    text = {
        "csv": table.write_csv,
        "tsv": lambda: table.write_csv(separator="\t"),
        "jsonl": table.write_ndjson,
        "ndjson": table.write_ndjson,
    }[kind]()
    path = tmp_path / f"t.{kind}{packed}"
    path.write_bytes(PACK[packed](text.encode()))
    read = read_table(str(path)).frame
    assert read.columns == table.columns
    assert read.with_columns(pl.col("x", "y", "z").cast(pl.Float32)).equals(table)


def test_several_packed_streams_are_one_file(tmp_path):
    for suffix, pack in PACK.items():
        path = tmp_path / f"t.csv{suffix}"
        path.write_bytes(pack(b"a,b\n1,2\n") + pack(b"3,4\n"))
        assert read_table(str(path)).frame["a"].to_list() == [1, 3]
        assert pl.concat([part.frame for part in read_parts(str(path), Layout())])["a"].to_list() == [1, 3]


@pytest.mark.parametrize("piece", [1, 7, 40, 1000])
def test_a_csv_in_pieces_is_the_csv(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(tables, "PIECE", piece)
    text = '\ufeffa,b\r\n1,"x\r\n, ""y"""\r\n\r\n2,ä\r\n3,"\n\n"\r\n4,last'
    (tmp_path / "t.csv").write_bytes(text.encode())
    parts = list(read_parts(str(tmp_path / "t.csv"), Layout()))
    whole = read_table(str(tmp_path / "t.csv"))
    assert len(parts) > 1 or piece == 1000
    assert pl.concat([part.raw for part in parts]).equals(whole.raw)
    assert whole.raw["b"].to_list() == ['x\n, "y"', "ä", "\n\n", "last"]
    places = [part.place(i, "a") for part in parts for i in range(len(part.raw))]
    assert places == [whole.place(i, "a") for i in range(4)]
    assert places[1].endswith("t.csv, row 2 (line 5), column 'a'")


@pytest.mark.parametrize("piece", [1, 50, 10_000])
def test_other_text_in_pieces_is_the_text(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(tables, "PIECE", piece)
    (tmp_path / "t.ft").write_text(lines())
    (tmp_path / "t.jsonl").write_text(frame().write_ndjson().replace("\n", "\n\n", 3))
    for name in "t.ft", "t.jsonl":
        parts = list(read_parts(str(tmp_path / name), Layout()))
        whole = read_table(str(tmp_path / name))
        assert pl.concat([part.frame for part in parts], how="vertical_relaxed").equals(whole.frame)
        assert parts[-1].place(0) == whole.place(parts[-1].first_row)


def test_parquet_and_arrays_in_parts_are_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BATCH", 20)
    monkeypatch.setattr("softmax.cli.arrays.VALUES", 100)
    X, names = embeddings()
    frame().write_parquet(tmp_path / "t.parquet", row_group_size=30)
    np.savez(tmp_path / "t.npz", X=X, names=names)
    for name in "t.parquet", "t.npz":
        parts = list(read_parts(str(tmp_path / name), Layout()))
        assert len(parts) > 2
        assert pl.concat([part.frame for part in parts]).equals(read_table(str(tmp_path / name)).frame)
        assert [part.first_row for part in parts] == np.cumsum([0, *(len(part.frame) for part in parts[:-1])]).tolist()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes("é,b\n1,2\n".encode(encoding))
    assert read_table(str(tmp_path / "t.csv")).frame.columns == ["é", "b"]
    (tmp_path / "t.jsonl").write_bytes('{"é": 1}\n'.encode(encoding))
    assert read_table(str(tmp_path / "t.jsonl")).frame.columns == ["é"]
    (tmp_path / "t.txt").write_bytes("__label__é word\n".encode(encoding))
    assert read_table(str(tmp_path / "t.txt")).frame["label"].to_list() == ["é"]


def test_json_lines_may_lack_keys(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n{"b": "x", "a": 2.5}\n{}\n')
    assert read_table(str(tmp_path / "t.jsonl")).frame.to_dict(as_series=False) == {
        "a": [1, 2.5, None],
        "b": [None, "x", None],
    }


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.jsonl", b'{"a": 1}\n\n{"a": 1,}\n', "t.jsonl, row 2 (line 3): not JSON ("),
        ("t.jsonl", b'{"a": 1}\n[1]\n', 't.jsonl, row 2 (line 2): not a JSON object such as {"column": 1}'),
        ("t.jsonl", b'{"a": 1.5, "b": 1}\n{"a": true}\n', "t.jsonl, row 2 (line 2), column 'a': true or false where a"),
        ("t.jsonl", b"{}\n", "t.jsonl, row 1 (line 1): the JSON objects are empty"),
        ("t.jsonl", b"\n", "t.jsonl: is empty"),
        ("t.csv.gz", b"a,b\n1,2\n", "t.csv.gz: not a gzip file, or a damaged one"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9], "t.csv.gz: not a gzip file, or a damaged one"),
        ("t.csv.zst", b"a,b\n1,2\n", "t.csv.zst: not a Zstandard file, or a damaged one"),
        ("t.csv", "a,b\n1,ä\n".encode() + "2,ä\n".encode("latin-1"), "t.csv, line 3: not UTF-8 text"),
        ("t.csv", b"\xff\xfea", "t.csv: begins like UTF-16 text, but is none"),
        ("t.ft", b"__label__a x\n__label__a __label__b y\n", "t.ft, row 2 (line 2): two labels, one is expected"),
        ("t.safetensors", b"garbage", "t.safetensors: not a safetensors file, or a damaged one"),
        ("t.safetensors", b"\x02" + b"\0" * 7 + b"[]", "t.safetensors: not a safetensors file, or a damaged one"),
        ("t.npy", b"garbage", "t.npy: not a NumPy file, or a damaged one, or one that needs pickle"),
        ("t.parquet", b"garbage", "t.parquet: not a Parquet file, or a damaged one"),
        ("t.xlsx", b"", "t.xlsx: unknown type of file, expected one of .csv, .tsv, .txt, .jsonl"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_wrong_with_a_file_is_said(tmp_path, monkeypatch, name, content, expected, whole):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Problem) as caught:
        list(read_parts(name, Layout()) if not whole else [read_table(name)])
    assert str(caught.value).startswith(expected)


# embeddings


@pytest.mark.parametrize("beside", ["labels.csv", "headless.csv", "labels.txt", "labels.npy", "labels.parquet"])
@pytest.mark.parametrize("data", ["x.npy", "x.safetensors"])
def test_labels_beside_embeddings(run, tmp_path, data, beside):
    X, names = embeddings()
    np.save("x.npy", X)
    write_safetensors(tmp_path / "x.safetensors", x=("F32", X))
    column = "\n".join(names) + "\n"
    (tmp_path / "labels.csv").write_text("animal\n" + column)
    for name in "headless.csv", "labels.txt":
        (tmp_path / name).write_text(column)
    np.save("labels.npy", names)
    pl.DataFrame({"animal": names}).write_parquet("labels.parquet")
    trained = run("train", data, "--target", beside, "-o", "m.skops")
    assert trained.status == 0
    assert "3 classes: " in trained.err
    assert "numeric  4 columns: x0, x1, x2, x3\n" in trained.err
    tested = run("evaluate", "m.skops", data, "--target", beside)
    assert tested.status == 0
    assert float(tested.out.split("accuracy")[1].split()[0]) > 80
    assert run("evaluate", "m.skops", data).line.startswith(f"{data}: has no column '{beside.split('.')[0]}'")


def test_labels_beside_that_do_not_fit(run, tmp_path):
    np.save("x.npy", embeddings(9)[0])
    (tmp_path / "few.txt").write_text("cat\ndog\n" * 2)
    (tmp_path / "two.csv").write_text("a,b\n" + "1,2\n" * 9)
    (tmp_path / "hole.csv").write_text("a\n" + "cat\n" * 7 + "NA\ndog\n")
    train = ["train", "x.npy", "--target"]
    assert run(*train, "few.txt").line == "few.txt: holds 4 labels for the 9 rows of x.npy"
    assert run(*train, "two.csv").line == "two.csv: has 2 columns, expected one of labels"
    assert run(*train, "hole.csv").line == "hole.csv, row 8 (line 9), column 'a': 1 label is missing, this one first"
    assert run(*train, "none.csv").line == "x.npy: has no column 'none.csv'; the columns are x0, x1, x2, x3"


def test_labels_of_a_test_beside_it(run, tmp_path):
    X, names = embeddings(60)
    np.save("x.npy", X[:40])
    np.save("y.npy", names[:40])
    np.save("new.npy", X[40:])
    np.savetxt("new.txt", np.roll(names[40:], 1), fmt="%s")  # wrong labels are seen in the accuracy
    pl.DataFrame(X[40:], [f"x{i}" for i in range(4)]).with_columns(animal=pl.Series(names[40:])).write_csv("new.csv")
    train = ["train", "x.npy", "--target", "y.npy", "--report", "r.html", "-o", "m.skops", "--test"]
    right = run(*train, "new.csv", "--test-target", "animal")
    wrong = run(*train, "new.npy", "--test-target", "new.txt")
    assert "Tested on 20 rows of new.npy" in wrong.out
    accuracies = [float(tested.out.split("accuracy")[1].split()[0]) for tested in (right, wrong)]
    assert accuracies[0] > 80 > accuracies[1]
    told = "new.npy: has no column 'y': say which labels it has with --test-target COLUMN|FILE"
    assert run(*train, "new.npy").line == told
    assert run(*train, "new.npy", "--test-target", "y.npy").line == "y.npy: holds 40 labels for the 20 rows of new.npy"
    np.savetxt("new.txt", ["cat"] * 19 + ["yak"], fmt="%s")
    line = run(*train, "new.npy", "--test-target", "new.txt").line
    assert "class 'yak' is not in the training data" in line
    line = run("train", "x.npy", "--target", "y.npy", "--test-target", "new.txt").line
    assert line == "--test-target new.txt: says which labels --test FILE has, which is missing"


def test_safetensors_of_every_type(tmp_path):
    bits = np.array([1.5, -2.0, 0.25], np.float32).view(np.uint32) >> 16
    write_safetensors(
        tmp_path / "t.safetensors",
        half=("F16", np.array([1.5, 2, 3], np.float16)),
        brain=("BF16", bits.astype(np.uint16)),
        whole=("I64", np.array([1, -2, 3])),
        flag=("BOOL", np.array([True, False, True])),
        wide=("F64", np.arange(6.0).reshape(3, 2)),
    )
    assert read_table(str(tmp_path / "t.safetensors")).frame.to_dict(as_series=False) == {
        "half": [1.5, 2, 3],
        "brain": [1.5, -2, 0.25],
        "whole": [1, -2, 3],
        "flag": [True, False, True],
        "wide0": [0, 2, 4],
        "wide1": [1, 3, 5],
    }


# texts


def test_fasttext_lines_from_training_to_a_report(run, tmp_path):
    (tmp_path / "pets.txt").write_text(lines())
    (tmp_path / "new.txt").write_text("the cat says meow\nrun, bird, run\n")
    trained = run("train", "pets.txt", "--report", "pets.html")
    assert trained.status == 0
    assert "target  label, 3 classes" in trained.err
    assert "text    1 column: text" in trained.err
    for words, stdin in [(["new.txt"], ""), (["-"], (tmp_path / "new.txt").read_text())]:
        out = pl.read_csv(run("predict", "pets.skops", *words, stdin=stdin).out.encode())
        assert out["prediction"].to_list() == ["cat", "emu"]
    labelled = pl.read_csv(run("predict", "pets.skops", "pets.txt", "--keep").out.encode())
    assert labelled.columns[:3] == ["label", "text", "prediction"]
    assert (labelled["label"] == labelled["prediction"]).all()
    html = (tmp_path / "pets.html").read_text()
    assert "4 words in the mean" in html
    assert "meow" in html
    pl.DataFrame({"text": ["bark"]}).write_csv("table.csv")
    assert run("predict", "pets.skops", "table.csv").out.split("\n")[1].startswith("dog,")


def test_a_text_file_without_labels_is_a_table_unless_the_model_says_otherwise(tmp_path):
    (tmp_path / "t.txt").write_text("a,b\n1,2\n")
    assert read_table(str(tmp_path / "t.txt"), layout=Layout()).frame.columns == ["a", "b"]
    assert read_table(str(tmp_path / "t.txt"), layout=Layout(lines=True)).frame["text"].to_list() == ["a,b", "1,2"]


# images


def test_a_folder_of_images_from_training_to_a_report(run, tmp_path):
    write_images(tmp_path / "pics")
    trained = run("train", "pics", "--report", "pics.html")
    assert trained.status == 0
    assert "Read pics: 30 rows, images as 12 by 10 coloured pixels" in trained.err
    assert trained.out.count("softmax predict pics.skops FOLDER") == 1
    out = pl.read_csv(run("predict", "pics.skops", "pics", "--keep").out.encode())
    assert out.columns[:4] == ["file", "label", "prediction", "confidence"]
    assert (out["label"] == out["prediction"]).all()
    html = (tmp_path / "pics.html").read_text()
    assert "12 by 10 coloured pixels" in html
    assert html.count("data:image/png;base64,") == 3  # the weights of each class; no mistakes
    assert run("evaluate", "pics.skops", "pics").status == 0
    (tmp_path / "flat").mkdir()
    (tmp_path / "pics" / "cat" / "0.png").rename(tmp_path / "flat" / "0.png")
    assert run("predict", "pics.skops", "flat").out.split("\n")[1].startswith("cat,")


def test_pixels_that_never_change_keep_their_place(run, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(60):
        (tmp_path / "pics" / NAMES[i % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.pad(rng.integers(0, 255, (2, 2)), 1).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pics" / NAMES[i % 2] / f"{i}.png")
    trained = run("train", "pics", "--report", "pics.html")
    assert "16 columns" in trained.err
    html = (tmp_path / "pics.html").read_text()
    assert html.count('class="read"') == html.count("<b>image</b>") > 0  # a picture of each mistake


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [("L", (8, 6), [8, 6, 1]), ("1", (8, 6), [8, 6, 1]), ("RGBA", (8, 6), [8, 6, 3]), ("P", (90, 90), [32, 32, 3])],
)
def test_images_are_brought_to_one_size(tmp_path, mode, size, expected):
    Image.new(mode, size, 1 if mode != "RGBA" else (255, 0, 0, 255)).save(tmp_path / "a.png")
    files = images.image_files(str(tmp_path))
    assert images.common_size(files) == expected
    ((pixels, about),) = images.image_frames(str(tmp_path), files, expected)
    assert pixels.shape == (1, np.prod(expected))
    assert pixels.columns == images.pixel_names(expected)
    assert about["file"].to_list() == ["a.png"]


def test_sixteen_bits_and_a_turned_camera(tmp_path):
    Image.fromarray(np.full((4, 4), 32768, np.uint16)).save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the top is on the right
    Image.fromarray(np.arange(2, dtype=np.uint8)[:, None] * np.uint8(255)).save(tmp_path / "b.png", exif=exif)
    files = images.image_files(str(tmp_path))
    ((pixels, _),) = images.image_frames(str(tmp_path), files[:1], [4, 4, 1])
    assert pixels.to_numpy().max() == pytest.approx(0.5, abs=0.01)
    ((pixels, _),) = images.image_frames(str(tmp_path), files[1:], [2, 1, 1])
    assert pixels.row(0) == (1.0, 0.0)


def test_folders_that_hold_no_images(run, tmp_path):
    (tmp_path / "pics" / "cat").mkdir(parents=True)
    assert run("train", "pics").line == "pics: is a directory without images, expected one subfolder of them a class"
    (tmp_path / "pics" / "cat" / "x.png").write_text("no image")
    assert run("train", "pics").line == "pics/cat/x.png: not an image, or a damaged one"


@pytest.mark.parametrize(
    ("package", "named", "extra", "data"),
    [("PIL", "pillow", "images", "pics"), ("zstandard", "zstandard", "cli", "t.csv.zst")],
)
def test_a_missing_package_is_named(run, tmp_path, monkeypatch, package, named, extra, data):
    write_images(tmp_path / "pics", rows=3)
    (tmp_path / "t.csv.zst").write_bytes(zstandard.compress(b"a,b\n1,2\n"))
    monkeypatch.setitem(sys.modules, package, None)
    line = f"this needs {named}, which is not installed: pip install 'softmax[{extra}]'"
    assert run("train", data, "--target", "b").line == line


def test_lines_end_where_records_end():
    assert textfiles._last_record_end(b'a\n"b\nc', True) == 2
    assert textfiles._last_record_end(b'a\n"b\nc', False) == 5
    assert textfiles._last_record_end(b'"a\nb', True) == 0
