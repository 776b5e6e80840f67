"""The page of a timeline, in a browser: a click seeks, and texts stay texts."""

import numpy as np
import pandas as pd
import pytest
import soundfile
from browser import browser, needs_browser, opened

from tacfn_hf.recordings.drawing import envelope
from tacfn_hf.recordings.timeline_files import write_timeline


def test_an_envelope_has_every_peak():
    waveform = np.zeros(100_001, np.float32)
    waveform[[0, 777, 100_000]] = 0.5, -0.25, 1.0
    low, high = envelope(waveform, 100)
    assert len(low) == 101
    assert sorted(high)[-2:] == [0.5, 1.0]
    assert low.min() == -0.25


@needs_browser
@pytest.mark.slow
def test_a_click_seeks(tmp_path):
    rate = 22_050
    soundfile.write(tmp_path / "call.wav", np.random.default_rng(0).normal(scale=0.1, size=(40 * rate, 2)), rate)
    hostile = "</td><script>document.title='taken'</script>"
    rows = {
        "start": [1.0, 12.5, 30.0],
        "end": [5.0, 20.0, 38.0],
        "speaker": ["A", hostile, None],
        "text": ["Hello there!", hostile, None],
        "label": ["angry", hostile, "angry"],
        "score": [0.7, 0.6, 0.9],
        "score_angry": [0.7, 0.4, 0.9],
        f"score_{hostile}": [0.3, 0.6, 0.1],
        "beta": [0.2, 0.5, 1.0],
    }
    write_timeline(pd.DataFrame(rows), tmp_path / "call.html", tmp_path / "call.wav")
    with browser() as chromium, opened(chromium, (tmp_path / "call.html").as_uri()) as page:
        assert page.title() == "Timeline: call.wav"
        player = page.locator("#player")
        page.wait_for_function("document.getElementById('player').duration > 0")
        assert player.evaluate("audio => audio.duration") == pytest.approx(40, abs=0.2)

        def now() -> float:
            return player.evaluate("audio => { audio.pause(); return audio.currentTime }")

        page.locator("button[data-start]").nth(1).click()
        assert now() == pytest.approx(12.5, abs=0.5)
        assert page.locator("tr.playing td.words").text_content() == hostile
        box, lanes = page.locator("#lanes").bounding_box(), page.locator("#lanes")
        left, right = (float(lanes.get_attribute(f"data-{side}")) for side in ("left", "right"))
        lanes.click(position={"x": box["width"] * (left + 0.75 * (right - left)), "y": box["height"] / 2})
        assert now() == pytest.approx(30, abs=0.5)
        assert 0.03 < left < 0.5 < right < 1
