"""The demo in a browser against its server: it answers as the pipeline, and keeps nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import gradio
import numpy as np
import pytest
import soundfile
import torch
from browser import browser, needs_browser, opened
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from tiny import config_for

from tacfn_hf import TacfnForSequenceClassification
from tacfn_hf.cli.main import main
from tacfn_hf.deployment.demo import build_demo, dial, launch_demo
from tacfn_hf.model import EmotionRecognitionPipeline


TEXT = "Hello there, how are you?"


@pytest.fixture(scope="module")
def recognizer(processor) -> EmotionRecognitionPipeline:
    torch.manual_seed(0)
    model = TacfnForSequenceClassification(config_for(processor, id2label={0: "angry", 1: "calm", 2: "sad"}))
    return EmotionRecognitionPipeline(model.eval(), processor)


@pytest.fixture(scope="module")
def address(recognizer, tmp_path_factory):
    os.environ["GRADIO_TEMP_DIR"] = str(tmp_path_factory.mktemp("uploads"))
    demo = build_demo(recognizer, "my_model *")
    _, local, shared = launch_demo(demo, prevent_thread_lock=True, quiet=True)
    assert shared is None
    assert demo.server_name == "127.0.0.1"
    yield local
    demo.close()
    del os.environ["GRADIO_TEMP_DIR"]


@pytest.fixture
def sound(tmp_path):
    soundfile.write(tmp_path / "hello.wav", np.random.default_rng(0).normal(scale=0.1, size=20_000), 16_000)
    return tmp_path / "hello.wav"


def test_the_hand_of_the_dial_points_to_what_counted():
    ends = [re.search(r'x2="([-\d.]+)" y2="([-\d.]+)"', dial(beta)).groups() for beta in (0.0, 0.5, 1.0)]
    assert [(float(x), float(y)) for x, y in ends] == [(-80, 0), (0, -80), (80, 0)]


@needs_browser
@pytest.mark.slow
def test_the_browser_shows_what_the_pipeline_says(recognizer, address, sound):
    with browser() as chromium, opened(chromium, address) as page:
        page.get_by_role("heading", name="my_model *").wait_for()
        page.get_by_role("button", name="Upload file").click()
        page.locator("input[type=file]").set_input_files(sound)
        page.get_by_label("What is said").fill(TEXT)
        for given, clicked in (
            ({"audio": str(sound), "text": TEXT}, page.get_by_role("button", name="Recognise")),
            ({"audio": str(sound)}, page.get_by_label("use the words")),
        ):
            expected = recognizer(given)
            clicked.click()
            page.get_by_label(f"beta {expected['beta']:.2f}").wait_for()
            best = expected["scores"][0]
            assert page.get_by_test_id("label-output-value").text_content().strip() == best["label"]
            assert f"{best['score']:.0%}" in page.get_by_test_id(f"{best['label']}-confidence-set").text_content()


@pytest.mark.slow
def test_two_people_at_once_and_a_bad_file(recognizer, address, sound, tmp_path):
    texts = [f"{TEXT} {i}" for i in range(2)]

    def ask(text: str):
        client = Client(address, verbose=False, download_files=False)
        return [client.predict(handle_file(sound), text, True, True, api_name="/recognise") for _ in range(3)]

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(ask, texts))
    for text, of_one in zip(texts, answers):
        expected = recognizer({"audio": str(sound), "text": text})
        for scores, beta, _ in of_one:
            assert f"beta {expected['beta']:.2f}" in beta
            found = {of["label"]: of["confidence"] for of in scores["confidences"]}
            assert found == pytest.approx({of["label"]: of["score"] for of in expected["scores"]}, abs=1e-6)

    (tmp_path / "bad.wav").write_text("no sound at all")
    client = Client(address, verbose=False, download_files=False)
    for audio, sentence in ((handle_file(tmp_path / "bad.wav"), "can't be decoded"), (None, "neither audio nor text")):
        with pytest.raises(AppError, match=sentence) as refused:
            client.predict(audio, "", True, True, api_name="/recognise")
        assert "Traceback" not in str(refused.value)
        assert os.environ["GRADIO_TEMP_DIR"] not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_the_demo_ends(recognizer, sound, tmp_path, number):
    recognizer.model.save_pretrained(tmp_path / "model")
    recognizer.processor.save_pretrained(tmp_path / "model")
    (tmp_path / "temporary").mkdir()
    code = f"import sys; sys.argv = ['tacfn', 'demo', {str(tmp_path / 'model')!r}, '--use_cpu']; "
    code += "from tacfn_hf.cli.main import main; main()"
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary"), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    address = next(re.search(r"http://127\.0\.0\.1:\d+", line)[0] for line in process.stdout if "http" in line)
    client = Client(address, verbose=False, download_files=False)
    client.predict(handle_file(sound), TEXT, True, True, api_name="/recognise")
    assert list((tmp_path / "temporary").rglob("hello.wav"))
    time.sleep(0.5)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert not list((tmp_path / "temporary").rglob("*.wav"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multi_label_classification", "regression"])
def test_several_labels_and_values_are_shown_as_the_pipeline_gives_them(processor, kind):
    scale = {"value_range": [1.0, 5.0]} if kind == "regression" else {}
    config = config_for(processor, id2label={0: "arousal", 1: "valence"}, problem_type=kind, **scale)
    recognizer = EmotionRecognitionPipeline(TacfnForSequenceClassification(config).eval(), processor)
    demo = build_demo(recognizer, "model")
    _, address, _ = launch_demo(demo, prevent_thread_lock=True, quiet=True)
    try:
        client = Client(address, verbose=False, download_files=False)
        assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/recognise"]
        shown, _, labels = client.predict(None, TEXT, True, True, api_name="/recognise")
    finally:
        demo.close()
    expected = recognizer({"text": TEXT})
    if kind == "regression":
        assert shown["data"] == [[of["label"], f"{of['score']:.2f}"] for of in expected["scores"]]
    else:
        assert labels == (", ".join(expected["labels"]) or "none")
        found = {of["label"]: of["confidence"] for of in shown["confidences"]}
        assert found == pytest.approx({of["label"]: of["score"] for of in expected["scores"]}, abs=1e-6)


def test_a_space_runs_the_same_demo(tmp_path, capsys):
    main(["demo", "user/my-model", "--space", str(tmp_path / "space")])
    files = {path.name: path.read_text("utf-8") for path in (tmp_path / "space").iterdir()}
    assert sorted(files) == ["README.md", "app.py", "requirements.txt"]
    assert 'MODEL = "user/my-model"' in files["app.py"]
    compile(files["app.py"], "app.py", "exec")
    assert "tacfn_hf" not in files["app.py"]
    assert f"sdk_version: {gradio.__version__}" in files["README.md"]
    assert f"torch=={torch.__version__.split('+')[0]}" in files["requirements.txt"]
    for model, sentence in (
        (str(tmp_path), "is a folder here: a Space needs"),
        ("a b/c", "is no name of a repository"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["demo", model, "--space", str(tmp_path / "other")])
        assert sentence in capsys.readouterr().err


def test_without_gradio_the_command_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit):
        main(["demo", "user/my-model"])
    assert "pip install 'tacfn-hf[demo]'" in capsys.readouterr().err
