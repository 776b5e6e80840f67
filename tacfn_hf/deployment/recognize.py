"""
Scores of an utterance from the exported programs beside this file, without torch:

    pip install onnxruntime soundfile soxr transformers
    python recognize.py hello.wav "Hello there!"

Either of the two may be "".
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr
from transformers import AutoFeatureExtractor, AutoTokenizer


FOLDER = Path(__file__).resolve().parent
ABOUT = json.loads((FOLDER / "about.json").read_text("utf-8"))


def run(program: str, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a program. A server makes each session once."""
    return onnxruntime.InferenceSession(FOLDER / program / "model.onnx").run(None, inputs)


def encode_audio(path: str) -> np.ndarray:
    """`h_a [1, L, d]` of a file."""
    of = ABOUT["audio"]
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    waveform = soxr.resample(samples.mean(axis=1), rate, of["sampling_rate"])
    if not of["min_samples"] <= len(waveform) <= of["max_seconds"] * of["sampling_rate"]:
        sys.exit(f"{path} has {len(waveform) / of['sampling_rate']:.2f} s: at most {of['max_seconds']:g} s are taken.")
    extractor = AutoFeatureExtractor.from_pretrained(FOLDER)
    inputs = dict(extractor(waveform, sampling_rate=of["sampling_rate"], return_tensors="np"))
    if (mask := inputs.pop("attention_mask", None)) is not None:
        inputs = {name: value[:, : mask.sum()] for name, value in inputs.items()}
    if of["frame"] is None:
        return run("audio_encoder", inputs)[0]
    frames = -(-len(waveform) // of["frame"])  # of Whisper, whose windows are filled up with silence
    if of["silence"] is not None:
        inputs["input_features"] = inputs["input_features"][..., : 2 * (frames + of["silence"])]
    return run("audio_encoder", inputs)[0][:, :frames]


def encode_text(text: str) -> np.ndarray:
    """`h_t [1, L, d]` of a text."""
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    made = tokenizer(text, add_special_tokens=ABOUT["text"]["add_special_tokens"], return_tensors="np")
    if made["input_ids"].shape[1] > (ABOUT["text"]["max_tokens"] or np.inf):
        sys.exit(f"The text has {made['input_ids'].shape[1]} tokens: at most {ABOUT['text']['max_tokens']} are taken.")
    return run("text_encoder", {name: made[name].astype(np.int64) for name in ("input_ids", "attention_mask")})[0]


def recognize(path: str, text: str) -> dict[str, float]:
    """The score of each label, and beta: near 1 audio was relied on, near 0 text."""
    absent = {of: np.zeros((1, 1, ABOUT[of]["feature_size"]), np.float32) for of in ("audio", "text")}
    h_a, h_t = encode_audio(path) if path else absent["audio"], encode_text(text) if text else absent["text"]
    masks = {"mask_a": np.full(h_a.shape[:2], not path), "mask_t": np.full(h_t.shape[:2], not text)}  # True = PAD
    scores, beta, _ = run("network", {"h_a": h_a, "h_t": h_t, **masks})
    return {**dict(zip(ABOUT["labels"], scores[0].tolist())), "beta": float(beta[0, 0])}


if __name__ == "__main__":
    print(json.dumps(recognize(*sys.argv[1:3]), indent=2, ensure_ascii=False))
