"""What `softmax train` is compared with: what the documentation of scikit-learn would have one write.

    python benchmarks/texts_script.py C|temperature

In the present folder, from train.csv and test.csv to a model and the probabilities of the test.
"""

import sys

import joblib
import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

way = sys.argv[1]
classifier = LogisticRegression(C=1 if way == "temperature" else float(way), max_iter=1000)
if way == "temperature":
    classifier = CalibratedClassifierCV(classifier, method="temperature", ensemble=False)
model = make_pipeline(TfidfVectorizer(sublinear_tf=True, min_df=2), classifier)
train = pd.read_csv("train.csv")
model.fit(train["text"], train["category"])
joblib.dump(model, "model.joblib")
test = pd.read_csv("test.csv")
probs = model.predict_proba(test["text"])
print(f"accuracy {(model.classes_[probs.argmax(axis=1)] == test['category']).mean():.4f}")
np.save("probs.npy", probs)
