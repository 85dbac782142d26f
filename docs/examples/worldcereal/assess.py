"""Compare the map of 2018 with the declarations of 2018: `assess.py FOLDER`."""

import sys
from pathlib import Path

import numpy as np
import rasterio
from sklearn.metrics import classification_report

import hpckit


def main(folder: Path) -> None:
    """Print the accuracy in all labelled pixels of another year and place than those of the training."""
    found = hpckit.open_campaign(folder / "2018/map.yaml").result("landcover").squeeze()
    with rasterio.open(folder / "2018/landcover.tif") as source:
        truth = source.read(1)
    # No label is a number, so the map has the position of a class in the order of the model: of the alphabet.
    names = np.array(["cropland", "grassland"])
    mapped = found["class"].values
    known = (truth > 0) & (np.isfinite(mapped))
    wanted = names[(truth[known] == 13).astype(int)]
    print(f"2018, {known.sum()} labelled pixels, {(truth > 0).sum() - known.sum()} of them without a class:")
    print(classification_report(wanted, names[mapped[known].astype(int)]))
    print(f"if all were called {names[0]}: {np.mean(wanted == names[0]):.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
