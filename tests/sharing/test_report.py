"""The page about a run: in a browser without a network, on a phone, with hostile texts, and with many rows."""

import base64
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from browser import DESK, PHONE, browser, needs_browser, opened
from datasets import Dataset
from tiny import TINY, config_for, cross_validated, make_features

from tacfn_hf import TacfnForSequenceClassification
from tacfn_hf.cli.main import main
from tacfn_hf.evaluation.predictions import Predicted, figures_of, table_of
from tacfn_hf.evaluation.record import RunRecord
from tacfn_hf.model import EmotionRecognitionPipeline
from tacfn_hf.sharing.pictures import draw_calibration
from tacfn_hf.sharing.report import write_report
from tacfn_hf.sharing.run_results import mistakes_of, read_results
from tacfn_hf.sharing.utterance import look_at


HOSTILE = (
    '</script><script>document.title="taken"</script><img src=x onerror="document.title=\'taken\'">$x^2$ {{ 7 * 7 }}'
)
NAMES = ["angry", f"calm {HOSTILE}", "sad"]


def save_run(folder: Path, config, rows: int = 60, names=NAMES, prefix: str = "u") -> Path:
    """What a run leaves of random predictions of the kind that the config has."""
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(rows, len(names))), random.integers(0, len(names), rows)
    if config.problem_type is not None and config.problem_type != "single_label_classification":
        labels = random.integers(0, 2, (rows, len(names)))
    beta = random.random((rows, 1)).astype(np.float32)
    predicted = Predicted(config, logits, beta, labels, list(names), np.ones(rows), config.value_range or (0, 1))
    table = table_of([f"{prefix}{i}" for i in range(rows)], predicted)
    record = RunRecord(
        metrics={"test": figures_of(predicted)},
        dataset="features/mine",
        rows={"test": rows},
        label_names=list(names),
        num_parameters=7,
        temperatures={"both": 1.0},
        problem_type=config.problem_type or "single_label_classification",
    )
    folder.mkdir(parents=True, exist_ok=True)
    record.write(folder, {"test": table})
    return folder


def corpus(run: Path, text: str = HOSTILE) -> Dataset:
    random = np.random.default_rng(0)
    ids = read_results(run).table["id"].tolist()
    audio = [{"array": random.normal(size=4000) / 9, "sampling_rate": 8000} if i % 4 else None for i in range(len(ids))]
    return Dataset.from_dict({"id": ids, "text": [f"{text} {i}" for i in ids], "audio": audio})


@pytest.fixture(scope="module")
def chromium():
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def recognizer(processor) -> EmotionRecognitionPipeline:
    """With blocks and a head of queries, and a label that would be a script."""
    settings = {"num_hidden_layers": 2, "head": "queries", "id2label": dict(enumerate(NAMES))}
    model = TacfnForSequenceClassification(config_for(processor, **settings)).eval()
    return EmotionRecognitionPipeline(model, processor)


def test_a_look_keeps_what_words_and_labels_attend_to(recognizer):
    sound = {"array": np.random.default_rng(0).normal(size=16_000) / 9, "sampling_rate": 16_000}
    found = look_at(recognizer, sound, "Hello there!")
    assert found.word_attention.shape == (len(found.tokens), 49)
    assert found.label_attention.shape[0] == 3
    np.testing.assert_allclose(found.word_attention.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found.label_attention.sum(axis=1), 1, atol=1e-5)
    assert not found.reasons
    assert look_at(recognizer, sound, None).reasons == ["Attention from words to sound needs both audio and text."]


def test_a_run_without_these_says_why(processor, tmp_path):
    model = TacfnForSequenceClassification(config_for(processor, num_hidden_layers=0, num_labels=3)).eval()
    look = look_at(EmotionRecognitionPipeline(model, processor), None, "Hello there!")
    assert [re.match("The model has no [a-z -]+", reason)[0] for reason in look.reasons] == [
        "The model has no cross-modal blocks ",
        "The model has no head of queries ",
    ]


def test_the_curve_counts_each_row_once():
    table = pd.DataFrame({"label": ["a", "b", "a"], "prediction": ["a", "a", "b"], "score_a": [0.85, 0.95, 0.29]})
    figure = draw_calibration(table.assign(score_b=1 - table["score_a"]), ["a", "b"], num_bins=10)
    curve = figure.axes[0].lines[1].get_xydata()
    np.testing.assert_allclose(curve, [[0.71, 0.0], [0.85, 1.0], [0.95, 0.0]], atol=1e-6)
    assert [round(bar.get_height()) for bar in figure.axes[1].patches] == [0] * 7 + [1, 1, 1]


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [DESK, PHONE])
def test_a_report_opens_and_hostile_texts_stay_texts(chromium, recognizer, tmp_path, width):
    run = save_run(tmp_path / "<b>run", recognizer.model.config, prefix="<i>u")
    path = write_report(run, rows=corpus(run), recognizer=recognizer)
    with opened(chromium, path.as_uri(), width) as page:
        assert page.title() == "Report: <b>run"
        assert page.locator("script").count() == 2
        assert page.locator("b, main img:not([src^='data:image/svg'])").count() == 0
        assert page.locator("#rows tbody tr").count() == 60
        assert page.locator("#rows td.words").first.text_content().startswith("</script><script>")
        assert page.locator("h2").all_text_contents() == [
            "Metrics",
            "Plots",
            "What beta is worth",
            "The surest mistakes",
            "The worst mistakes",
            "One utterance",
            "All rows",
        ]
        for image in page.locator("img").all():
            assert image.get_attribute("alt")
            assert image.evaluate("image => image.complete && image.naturalWidth") > 100
        clips = page.locator("audio").evaluate_all("clips => clips.map((clip) => clip.src)")
        assert 5 < len(set(clips)) <= 20
        seconds = page.locator(".mistakes audio").first.evaluate(
            "audio => new Promise(done => { audio.onloadedmetadata = () => done(audio.duration); audio.load() })"
        )
        assert 0.4 < seconds < 0.7
        # What is wider than the window scrolls by itself, and the page does not.
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@needs_browser
@pytest.mark.slow
def test_rows_are_found_and_sorted_in_five_thousand(chromium, config, tmp_path):
    config.num_labels = 3
    run = save_run(tmp_path / "run", config, 5000, ["angry", "calm", "sad"])
    path = write_report(
        run, rows=corpus(run, "Some words as people say them in a sentence of usual length"), audio=False
    )
    assert path.stat().st_size < 5e6
    with opened(chromium, path.as_uri()) as page:
        assert page.locator("audio").count() == 0
        assert page.locator("#count").text_content() == "100 of 5000 rows"
        page.locator("#more").click()
        assert page.locator("#count").text_content() == "200 of 5000 rows"
        page.locator("#search").fill("u4321")
        assert page.locator("#rows tbody tr").count() == 1
        page.locator("#search").fill("")
        page.locator("#wrong").check()
        page.locator("#predicted").select_option("sad")
        table = read_results(run).table
        wrong = table[(table["prediction"] == "sad") & (table["label"] != "sad")]
        assert page.locator("#count").text_content() == f"100 of {len(wrong)} rows that match, of 5000"
        page.get_by_role("button", name="score").click()
        page.get_by_role("button", name="score").click()
        assert page.locator("#rows tbody tr th").first.text_content() == wrong.set_index("id")["score_sad"].idxmax()


@pytest.mark.parametrize("kind", ["multi_label_classification", "regression"])
def test_other_kinds_of_labels_have_their_own_figures(config, kind, tmp_path):
    config.problem_type, config.num_labels = kind, 2
    config.value_range = [1.0, 5.0] if kind == "regression" else None
    names = ["arousal", "valence"] if kind == "regression" else ["angry", "sad"]
    run = save_run(tmp_path / "run", config, names=names)
    page = write_report(run).read_text("utf-8")
    found = RunRecord.read(run).metrics["test"]
    (figure, scale), *_ = [("CCC", 1)] if kind == "regression" else [("mAP", 100)]
    assert f'<td class="number">{found[figure] * scale:.{3 if scale == 1 else 1}f}</td>' in page
    assert "No corpus was given" in page


def test_labels_with_commas_and_none_are_compared_as_labels(config, tmp_path):
    config.problem_type, config.num_labels = "multi_label_classification", 3
    results = read_results(save_run(tmp_path / "run", config, names=["none", "a, b", "b"]))
    for row in results.table.to_dict("records"):
        assert results.is_right(row) == (sorted(row["labels"]) == sorted(row["predictions"]))
    wrong = mistakes_of(results, 1000)["The surest mistakes"][1]
    assert len(wrong) == sum(not results.is_right(row) for row in results.table.to_dict("records"))


@pytest.mark.slow
def test_the_report_of_a_cross_validation_tells_the_seeds_apart(tmp_path):
    make_features().save_to_disk(tmp_path / "features")
    arguments = [
        "--dataset",
        tmp_path / "features",
        "--output_dir",
        tmp_path / "runs",
        *TINY,
        "--num_train_epochs",
        "1",
    ]
    arguments += ["--group_column", "session", "--num_folds", "2", "--valid_fraction", "0.3", "--seeds", "0", "1"]
    cross_validated([*map(str, arguments), "--use_cpu", "true"])
    results = read_results(tmp_path / "runs")
    assert len(results.table) == 2 * 48
    assert results.num_seeds == 2
    listed = pd.concat([of for _, of in mistakes_of(results, 20).values()])
    assert listed["id"].is_unique
    worst = results.table[results.table["label"] != results.table["prediction"]]
    surest = max(results.score_of(row) for row in worst.to_dict("records"))
    assert results.score_of(listed.iloc[0]) == surest
    page = write_report(tmp_path / "runs").read_text("utf-8")
    assert "Plots count every row 2 times, once for each seed." in page
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page)[1])
    assert {(name, seed) for name, seed, *_ in data} == {(f"u{i}", str(seed)) for i in range(48) for seed in (0, 1)}


def test_a_model_of_text_is_shown_text_alone(processor, tmp_path):
    config = config_for(processor, num_labels=3)
    run = save_run(tmp_path / "run", config, names=["angry", "calm", "sad"])
    record = RunRecord.read(run)
    record.modalities = ["h_t"]
    record.write(run, {"test": read_results(run).table})
    recognizer = EmotionRecognitionPipeline(TacfnForSequenceClassification(config).eval(), processor)
    page = write_report(run, rows=corpus(run, "Hello there!"), recognizer=recognizer).read_text("utf-8")
    look = page[page.index("<h2>One utterance") : page.index("<h2>All rows")]
    assert 'left:0%"></i></span> 0.00' in look
    assert "waveform" not in look


def test_sound_that_cannot_be_decoded_is_named_and_the_report_written(config, tmp_path):
    config.num_labels = 3
    run = save_run(tmp_path / "run", config, names=["angry", "calm", "sad"])
    (tmp_path / "bad.wav").write_text("no sound")
    rows = corpus(run).remove_columns("audio").add_column("audio", [str(tmp_path / "bad.wav")] * 60)
    assert "bad.wav) can&#39;t be decoded" in write_report(run, rows=rows).read_text("utf-8")


def test_ids_may_be_numbers_and_labels_hold_control_characters(config, tmp_path):
    config.num_labels = 3
    run = save_run(tmp_path / "run", config, names=["an\x00gry", "calm", "s\x1bad"])
    table = read_results(run).table
    RunRecord.read(run).write(run, {"test": table.assign(id=range(60)).drop(columns="split")})
    page = write_report(run, rows=corpus(run), utterance="7").read_text("utf-8")
    for picture in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page):
        ElementTree.fromstring(base64.b64decode(picture))


def test_what_is_refused(config, tmp_path, capsys):
    config.num_labels = 3
    run = save_run(tmp_path / "run", config)
    with pytest.raises(ValueError, match="'u0', and lacks 1 of 60 rows"):
        write_report(run, rows=corpus(run).select(range(1, 60)))
    with pytest.raises(ValueError, match="utterance is 'x': the test rows have no such id"):
        write_report(run, utterance="x")
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(run), "--corpus", "folder"])
    assert "dataset is not given" in capsys.readouterr().err
    main(["report", str(run)])
    assert (run / "report.html").is_file()
