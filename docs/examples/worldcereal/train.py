"""Train on the patch of 2019, and write the campaign that maps the one of 2018: `train.py FOLDER`.

A patch of another year has other dates, so features have other names. The model is trained without names, and `features`
of the map lists those of 2018 in the order of those of 2019. The patch of 2019 trains since it has six crops, and that of 2018
almost only maize. This direction was chosen after both had been compared with the labels.
"""

import json
import sys
from pathlib import Path

import numpy as np
from joblib import dump
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import classification_report
from sklearn.model_selection import GroupKFold, cross_val_predict

import hpckit

MAP = """\
# The map of 2018, by the model of 2019.
name: landcover_2018
reductions:
  - name: landcover
    kind: predict
    model: ../2019/landcover.joblib
    collection: campaign.yaml
    composite: seasons
    features: {features}
"""


def main(folder: Path) -> None:
    """Sample, test with whole parcels, train, and write the campaign of the map."""
    samples = hpckit.sample(
        folder / "2019/campaign.yaml", folder / "2019/labels.gpkg", "cover", composite="seasons", pixels=10_000
    )
    table = samples.table.to_pandas()
    numbers, labels = table[samples.features].to_numpy(np.float32), table.label.to_numpy()
    model = RandomForestClassifier(100, min_samples_leaf=3, class_weight="balanced", random_state=0)
    tested = cross_val_predict(model, numbers, labels, cv=GroupKFold(5), groups=table.feature)
    print(f"2019, {len(table)} pixels of {table.feature.nunique()} parcels, tested on other parcels than trained:")
    print(classification_report(labels, tested))
    dump(model.fit(numbers, labels), folder / "2019/landcover.joblib")
    names = [name.replace("_2019-", "_2018-") for name in samples.features]
    (folder / "2018/map.yaml").write_text(MAP.format(features=json.dumps(names)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
