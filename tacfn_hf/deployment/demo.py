"""
A demo in the browser: a microphone or a file, the words, scores as bars, and beta as a dial from text to audio.

This file is also the `app.py` of a Hub Space: it needs gradio and transformers, and nothing of its package.
"""

import math
from typing import Any

import gradio
from transformers import Pipeline, pipeline


MODEL = ""  # of a Space: its id on the Hub
MAX_AGE = 600  # seconds: uploads that are older are deleted
ABOUT = (
    "Scores say which emotion others would perceive, not what somebody feels. It is for research: in the EU, inferring "
    "emotions at work and in education is forbidden (AI Act, article 5(1)(f)). What you upload is deleted after "
    f"{MAX_AGE // 60} minutes."
)


def dial(beta: float | None) -> str:
    """The SVG of a dial whose hand points from text (left) to audio (right)."""
    x, y = (100.0, 20.0) if beta is None else (-80 * math.cos(math.pi * beta), -80 * math.sin(math.pi * beta))
    hand = (
        ""
        if beta is None
        else f'<line x1="0" y1="0" x2="{x:.1f}" y2="{y:.1f}" stroke="currentColor" stroke-width="4"/>'
    )
    said = "no answer yet" if beta is None else f"beta {beta:.2f}"
    return (
        f'<svg viewBox="-130 -110 260 150" role="img" aria-label="{said}, from 0, text, to 1, audio" '
        'style="max-width:20rem;width:100%" font-family="system-ui, sans-serif" font-size="16" text-anchor="middle">'
        '<path d="M -100 0 A 100 100 0 0 1 0 -100" fill="none" stroke="#e69f00" stroke-width="14"/>'
        '<path d="M 0 -100 A 100 100 0 0 1 100 0" fill="none" stroke="#56b4e9" stroke-width="14"/>'
        f'{hand}<circle r="6" fill="currentColor"/><g fill="currentColor"><text x="-100" y="24">text</text>'
        f'<text x="100" y="24">audio</text><text y="34">{said}</text></g></svg>'
    )


def build_demo(recognizer: Pipeline, title: str) -> gradio.Blocks:
    """
    The demo of a pipeline of "multimodal-emotion-recognition".

    What the pipeline refuses is shown in its own sentence. Uploads are deleted after MAX_AGE seconds, and when the
    server ends.
    """

    def answer(audio: str | None, text: str, use_audio: bool, use_text: bool) -> tuple[Any, str, str]:
        given = {"audio": audio if use_audio else None, "text": text if use_text else None}
        try:
            found = recognizer(given)
        except (ValueError, TypeError, OSError) as error:
            sentence = str(error).replace(str(audio), "the file") if audio else str(error)
            return None, dial(None), sentence
        low, high = found.get("range") or (0.0, 1.0)
        if "range" in found:  # bars are of 0 to 1
            said = ", ".join(f"{of['label']} {of['score']:.2f}" for of in found["scores"])
            bars = {of["label"]: min(max((of["score"] - low) / (high - low), 0), 1) for of in found["scores"]}
            return bars, dial(found["beta"]), f"{said} (from {low:g} to {high:g})"
        several = f"labels: {', '.join(found['labels']) or 'none'}" if "labels" in found else ""
        return {of["label"]: of["score"] for of in found["scores"]}, dial(found["beta"]), several

    with gradio.Blocks(title=title, analytics_enabled=False, delete_cache=(60, MAX_AGE)) as demo:
        gradio.Markdown(f"# {gradio_text(title)}\n\n{ABOUT}")
        with gradio.Row():
            with gradio.Column():
                audio = gradio.Audio(sources=["microphone", "upload"], type="filepath", label="Sound")
                text = gradio.Textbox(label="What is said", lines=2)
                with gradio.Row():
                    use_audio = gradio.Checkbox(True, label="use the sound")
                    use_text = gradio.Checkbox(True, label="use the words")
                ask = gradio.Button("Recognise", variant="primary")
            with gradio.Column():
                scores = gradio.Label(label="Scores")
                beta = gradio.HTML(dial(None), label="Beta")
                note = gradio.Textbox(label="Note", interactive=False)
        inputs, outputs = [audio, text, use_audio, use_text], [scores, beta, note]
        ask.click(answer, inputs, outputs, api_name="recognise")
        for box in (use_audio, use_text):
            box.input(answer, inputs, outputs, api_name=False)
    return demo


def launch_demo(demo: gradio.Blocks, **options: Any) -> Any:
    """Serves a demo, on loopback unless `server_name` says otherwise. `options` are those of `Blocks.launch`."""
    # Other fonts would be fetched from a server of Google's.
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return demo.launch(
        theme=theme, share=False, max_file_size="100mb", footer_links=[], ssr_mode=False, run_history=False, **options
    )


def gradio_text(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()#+-.!<>|~$&" else letter for letter in text)


if __name__ == "__main__":
    # The code of the model's repository runs, too.
    recognizer = pipeline("multimodal-emotion-recognition", model=MODEL, trust_remote_code=True)
    launch_demo(build_demo(recognizer, MODEL))
