"""Models in files of skops: read without running code, refused where a type is not trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpckit.base.files import digest_file
from hpckit.errors import UserCodeError
from hpckit.reduce.blocks.models import open_model

pytest.importorskip("sklearn", reason="needs the extra `learn`")
skops = pytest.importorskip("skops.io", reason="needs skops")


def test_a_model_of_skops_gives_its_probabilities(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).random((200, 3))
    fitted = LogisticRegression().fit(x, (x[:, 0] > 0.5).astype(int) + 3)
    path = tmp_path / "line.skops"
    skops.dump(fitted, path)
    model = open_model(path, digest_file(path))
    assert model.classes == [3, 4] and model.count == 3
    np.testing.assert_array_equal(model.probabilities(x), fitted.predict_proba(x))


class Unknown:
    classes_ = np.array([0])


def test_a_type_that_is_not_trusted_is_named(tmp_path: Path) -> None:
    path = tmp_path / "unknown.skops"
    skops.dump(Unknown(), path)
    with pytest.raises(UserCodeError, match=r"no model that can be read: UntrustedTypesFoundException.*Unknown"):
        open_model(path, digest_file(path))


def test_a_file_that_is_none_of_skops(tmp_path: Path) -> None:
    path = tmp_path / "none.skops"
    path.write_bytes(b"nothing")
    with pytest.raises(UserCodeError, match=r"none\.skops: no model that can be read"):
        open_model(path, digest_file(path))
