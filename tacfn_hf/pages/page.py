"""One HTML file that needs nothing else: its style, script, pictures and sound are in it, and it loads nothing."""

import base64
import hashlib
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import matplotlib.style
import numpy as np
import soundfile
from markupsafe import Markup
from matplotlib.figure import Figure

from ..writing import replacing


HERE = Path(__file__).parent
OWN_STYLE = "default"  # of pictures: matplotlib's, whatever the user's is
NO_XML = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # control characters, which no SVG may have
CLIP_RATE = 16_000  # Hz, of embedded sound


def write_page(path: str | os.PathLike, template: str, script: str, **values: Any) -> None:
    """
    Fills a template, and writes the page.

    All values are escaped. Should one get into the page as markup all the same, a browser still runs no script but
    ours, whose hash the page names, and loads nothing.

    Args:
        path: the file, which is written whole or not at all.
        template: the name of a file beside this one, which extends `base.html`.
        script: the name of its script.
        values: of the template, `title` among them; `data` of a block "data", for the script, as JSON.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    code = (HERE / script).read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    page = environment.get_template(template).render(
        style=Markup((HERE / "page.css").read_text("utf-8")),
        script=Markup(code),
        script_hash=f"sha256-{digest}",
        **values,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace", newline="\n")


def picture(figure: Figure, bbox_inches: str | None = "tight") -> str:
    """
    A figure as the address of an `img`: an SVG, whose text is text, so that a browser finds fonts for any script.
    `bbox_inches` is matplotlib's.
    """
    buffer = io.BytesIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": "tacfn", "font.family": "sans-serif"}
    with matplotlib.style.context(OWN_STYLE), matplotlib.rc_context(settings):
        figure.savefig(buffer, format="svg", bbox_inches=bbox_inches, metadata={"Date": None, "Creator": None})
    return address("image/svg+xml", NO_XML.sub(b"\xef\xbf\xbd", buffer.getvalue()))


def sound(blocks: Iterable[np.ndarray]) -> str:
    """Samples `[n]` at CLIP_RATE, in one piece or several, as the address of an `audio`: an MP3 of about 28 kbit/s."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", CLIP_RATE, 1, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.5
    ) as file:
        for block in blocks:
            file.write(np.clip(block, -1, 1))
    return address("audio/mpeg", buffer.getvalue())


def address(kind: str, content: bytes) -> str:
    """A data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
