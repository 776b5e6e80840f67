"""
Scores of an utterance from the exported programs beside this file, without torch:

    pip install onnxruntime soundfile soxr transformers
    python recognize.py --audio hello.wav --text "Hello there!"
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr
from transformers import AutoFeatureExtractor, AutoTokenizer


class Recognizer:
    """The programs in a folder, each loaded once."""

    def __init__(self, folder: Path):
        self.about = json.loads((folder / "about.json").read_text("utf-8"))
        parts = ("audio_encoder", "text_encoder", "network")
        self.sessions = {part: onnxruntime.InferenceSession(folder / part / "model.onnx") for part in parts}
        self.extractor = AutoFeatureExtractor.from_pretrained(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def encode_audio(self, path: str) -> np.ndarray:
        """`h_a [1, L, d]` of a file."""
        of = self.about["audio"]
        rate = of["sampling_rate"]
        samples, given_rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = samples.mean(axis=1)
        if np.abs(mono).max(initial=0) < 1e-3 * np.abs(samples).max(initial=0):
            raise ValueError(f"The channels of {path} cancel each other.")
        waveform = soxr.resample(mono, given_rate, rate)
        if not of["min_samples"] <= len(waveform) <= of["max_seconds"] * rate:
            least, most = of["min_samples"] / rate, of["max_seconds"]
            raise ValueError(f"{path} is {len(waveform) / rate:.3f} s long: it must be from {least:.3f} to {most:g} s.")
        if not np.isfinite(waveform).all():
            raise ValueError(f"{path} has samples that are not finite.")
        inputs = dict(self.extractor(waveform, sampling_rate=rate, return_tensors="np"))
        if (mask := inputs.pop("attention_mask", None)) is not None:
            inputs = {name: value[:, : mask.sum()] for name, value in inputs.items()}
        if of["samples_per_frame"] is None:
            return self.sessions["audio_encoder"].run(None, inputs)[0]
        frames = -(-len(waveform) // of["samples_per_frame"])  # Whisper fills its window up with silence
        if of["silence_frames"] is not None:
            inputs["input_features"] = inputs["input_features"][..., : 2 * (frames + of["silence_frames"])]
        return self.sessions["audio_encoder"].run(None, inputs)[0][:, :frames]

    def encode_text(self, text: str) -> np.ndarray:
        """`h_t [1, L, d]` of a text."""
        of = self.about["text"]
        made = self.tokenizer(text, add_special_tokens=of["add_special_tokens"], return_tensors="np")
        count = made["input_ids"].shape[1]
        if not 1 <= count <= (of["max_tokens"] or np.inf):
            raise ValueError(f"The text has {count} tokens: it must have from 1 to {of['max_tokens']}.")
        inputs = {name: made[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
        return self.sessions["text_encoder"].run(None, inputs)[0]

    def __call__(self, audio: str | None = None, text: str | None = None) -> dict:
        """The score of each label, and beta: near 1 the model relied on audio, near 0 on text."""
        text = text or ""
        if not any(letter.isprintable() and letter != " " for letter in text):  # nothing visible
            text = ""
        if not audio and not text:
            raise ValueError("Give audio, text or both.")
        absent = {of: np.zeros((1, 1, self.about[of]["feature_size"]), np.float32) for of in ("audio", "text")}
        h_a = self.encode_audio(audio) if audio else absent["audio"]
        h_t = self.encode_text(text) if text else absent["text"]
        masks = {"mask_a": np.full(h_a.shape[:2], not audio), "mask_t": np.full(h_t.shape[:2], not text)}  # True = PAD
        scores, beta, _ = self.sessions["network"].run(None, {"h_a": h_a, "h_t": h_t, **masks})
        return {"scores": dict(zip(self.about["labels"], scores[0].tolist())), "beta": float(beta[0, 0])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", help="wav, flac, mp3 or ogg")
    parser.add_argument("--text", help="what is said in it")
    given = parser.parse_args()
    try:
        answer = Recognizer(Path(__file__).resolve().parent)(given.audio, given.text)
    except (ValueError, soundfile.SoundFileError) as error:
        parser.error(str(error))
    print(json.dumps(answer, indent=2, ensure_ascii=False))
