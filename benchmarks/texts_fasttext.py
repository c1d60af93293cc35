"""What `softmax train` is compared with: fastText, on texts prepared as its tutorial says.

    python benchmarks/texts_fasttext.py EPOCHS

In the present folder, from train.csv and test.csv to a model and the probabilities of the test. Rate 1.0 and 25 epochs
are the tutorial's; 5 epochs, the default, leave both corpora of `bench_texts.py` far from learned.
"""

import re
import sys

import fasttext
import numpy as np
import pandas as pd


def prepared(text: str) -> str:
    """Lower case, punctuation set apart, one line."""
    return " ".join(re.findall(r"\w+|[^\w\s]", text.lower()))


train, test = pd.read_csv("train.csv"), pd.read_csv("test.csv")
classes = sorted(set(train["category"]))
with open("train.txt", "w", encoding="utf-8") as file:
    for label, text in zip(train["category"], train["text"], strict=True):
        file.write(f"__label__{classes.index(label)} {prepared(text)}\n")
model = fasttext.train_supervised("train.txt", lr=1.0, epoch=int(sys.argv[1]), thread=2, verbose=0)
model.save_model("model.bin")
probs = np.zeros((len(test), len(classes)))
for row, text in zip(probs, test["text"], strict=True):
    # Not model.predict, whose arrays are those of NumPy 1.
    for share, name in model.f.predict(prepared(text) + "\n", len(classes), 0.0, "strict"):
        row[int(name.removeprefix("__label__"))] = share
probs /= probs.sum(axis=1, keepdims=True)
np.save("probs.npy", probs)
