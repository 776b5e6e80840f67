"""
A demo in the browser: a microphone or a file, the words, scores as bars, and beta as a dial from text to audio.

This file is also the `app.py` of a Space on the Hub: it needs gradio and transformers, and nothing of its package.
"""

import math
from typing import Any

import gradio
from transformers import Pipeline, pipeline


MODEL = ""  # of a Space: its id on the Hub
MAX_AGE = 540  # seconds: older uploads are deleted, which is checked every minute
ABOUT = (
    "Scores say which emotion others would perceive, not what somebody feels. This demo is for research. The EU "
    "forbids inferring emotions at work and in education (AI Act, article 5(1)(f)). Uploads are deleted after ten "
    "minutes."
)


def dial(beta: float | None) -> str:
    """The SVG of a dial whose hand points from text (left) to audio (right); without a hand where there is no beta."""
    hand, said = "", "no answer yet"
    if beta is not None:
        x, y = (-80 * of(math.pi * beta) for of in (math.cos, math.sin))
        hand = f'<line x1="0" y1="0" x2="{x:.1f}" y2="{y:.1f}" stroke="currentColor" stroke-width="4"/>'
        said = f"beta {beta:.2f}"
    return (
        f'<svg viewBox="-130 -110 260 150" role="img" aria-label="{said}, from 0, text, to 1, audio" '
        'style="max-width:20rem;width:100%" font-family="system-ui, sans-serif" font-size="16" text-anchor="middle">'
        '<path d="M -100 0 A 100 100 0 0 1 0 -100" fill="none" stroke="#e69f00" stroke-width="14"/>'
        '<path d="M 0 -100 A 100 100 0 0 1 100 0" fill="none" stroke="#56b4e9" stroke-width="14"/>'
        f'{hand}<circle r="6" fill="currentColor"/><g fill="currentColor"><text x="-100" y="24">text</text>'
        f'<text x="100" y="24">audio</text><text y="34">{said}</text></g></svg>'
        "<p>Beta is near 1 where the model relied on the sound, near 0 where it relied on the words.</p>"
    )


def build_demo(recognizer: Pipeline, title: str) -> gradio.Blocks:
    """
    The demo of a pipeline of "multimodal-emotion-recognition".

    What the pipeline refuses is shown in its own sentence. Uploads are deleted after ten minutes, and when the server
    ends.
    """
    config = recognizer.model.config
    values = config.problem_type == "regression" or (config.problem_type is None and config.num_labels == 1)
    several = config.problem_type == "multi_label_classification"

    def answer(audio: str | None, text: str, use_audio: bool, use_text: bool) -> tuple[Any, str, str]:
        if not use_audio and not use_text:
            raise gradio.Error("Sound and words are both switched off.", print_exception=False)
        try:
            found = recognizer({"audio": audio if use_audio else None, "text": text if use_text else None})
        except (ValueError, OSError) as error:  # with the name of a temporary file
            sentence = str(error).replace(str(audio), "the file")
            raise gradio.Error(sentence, print_exception=False) from error
        scores = {of["label"]: of["score"] for of in found["scores"]}
        shown = [[label, f"{score:.2f}"] for label, score in scores.items()] if values else scores
        return shown, dial(found["beta"]), ", ".join(found.get("labels", ())) or "none"

    with gradio.Blocks(title=title, analytics_enabled=False, delete_cache=(60, MAX_AGE)) as demo:
        gradio.Markdown(f"# {as_markdown(title)}\n\n{ABOUT}")
        with gradio.Row():
            with gradio.Column():
                audio = gradio.Audio(sources=["upload", "microphone"], type="filepath", label="Sound", buttons=[])
                text = gradio.Textbox(label="What is said", lines=2)
                with gradio.Row():
                    use_audio = gradio.Checkbox(True, label="use the sound")
                    use_text = gradio.Checkbox(True, label="use the words")
                ask = gradio.Button("Recognise", variant="primary")
            with gradio.Column():
                if values:
                    scale = config.value_range
                    name = "Values" if scale is None else f"Values, from {scale[0]:g} to {scale[1]:g}"
                    scores = gradio.Dataframe(headers=["value", "predicted"], label=name, interactive=False)
                else:
                    scores = gradio.Label(label="Scores", show_heading=not several)
                beta = gradio.HTML(dial(None), label="Beta")
                labels = gradio.Textbox(label="Labels", interactive=False, visible=several)
        inputs, outputs = [audio, text, use_audio, use_text], [scores, beta, labels]
        ask.click(answer, inputs, outputs, api_name="recognise")
        text.submit(answer, inputs, outputs, api_visibility="private")
        for box in (use_audio, use_text):
            box.input(answer, inputs, outputs, api_visibility="private")
    return demo


def launch_demo(demo: gradio.Blocks, **options: Any) -> Any:
    """Serves a demo, on loopback unless `server_name` says otherwise. `options` are those of `Blocks.launch`."""
    # Other fonts would be fetched from a server of Google's.
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    kept = {"share": False, "run_history": False, "ssr_mode": False, "footer_links": [], "max_file_size": "100mb"}
    return demo.launch(theme=theme, **kept, **options)


def as_markdown(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()#+-.!<>|~$&" else letter for letter in text)


if __name__ == "__main__":
    # The code of the model's repository runs, too.
    launch_demo(build_demo(pipeline("multimodal-emotion-recognition", model=MODEL, trust_remote_code=True), MODEL))
