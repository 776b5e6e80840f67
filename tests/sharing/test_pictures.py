"""Pictures show their data, and nothing but their data."""

import io

import matplotlib
import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from tacfn_hf.sharing.pictures import draw_beta, draw_confusion, save_picture


NAMES = ["angry", "calm", "sad"]
DRAWINGS = [draw_confusion, draw_beta]


def predictions(seed: int = 0, rows: int = 30) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "label": [NAMES[i % 3] for i in range(rows)],
            "prediction": generator.choice(NAMES, rows),
            "beta": generator.uniform(size=rows),
        }
    )


def picture(draw, table: pd.DataFrame, path, names=NAMES) -> tuple[bytes, np.ndarray]:
    save_picture(draw(table, names), path / "picture.png")
    content = (path / "picture.png").read_bytes()
    return content, matplotlib.image.imread(io.BytesIO(content))


@pytest.mark.parametrize("draw", DRAWINGS)
def test_equal_data_give_equal_bytes_and_other_data_other_pixels(draw, tmp_path):
    content, pixels = picture(draw, predictions(), tmp_path)
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):  # a user's own style
        assert picture(draw, predictions(), tmp_path)[0] == content
    assert picture(draw, predictions().iloc[::-1], tmp_path)[0] == content
    other = picture(draw, predictions(1), tmp_path)[1]
    assert other.shape == pixels.shape
    assert not np.array_equal(other, pixels)
    assert b"Software" not in content
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_confusion_counts_and_colours():
    table = pd.DataFrame({"label": ["angry"] * 4 + ["calm"] * 2, "prediction": ["angry"] * 3 + ["sad"] + ["angry"] * 2})
    axes = draw_confusion(table, NAMES).axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "0", "1", "2", "0", "0", "0", "0", "0"]
    assert np.array_equal(axes.images[0].get_array(), [[0.75, 0, 0.25], [1, 0, 0], [0, 0, 0]])
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES


def test_beta_of_each_class():
    table = pd.DataFrame({"label": ["angry"] * 3 + ["sad"], "beta": [0.1, 0.2, 0.6, 0.9]})
    axes = draw_beta(table, NAMES).axes[0]
    means = [float(line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "^"]
    assert means == pytest.approx([0.3, np.nan, 0.9], nan_ok=True)
    assert axes.get_ylim()[0] < 0
    assert axes.get_ylim()[1] > 1
    assert axes.get_ylabel() == "beta (0 = text, 1 = audio)"


@pytest.mark.parametrize("draw", DRAWINGS)
def test_a_name_is_not_a_formula(draw, tmp_path):
    names = [r"$\frac{1}$", "calm", "sad"]
    picture(draw, predictions().replace("angry", names[0]), tmp_path, names)
