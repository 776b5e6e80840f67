"""What a report takes from the corpus of its run: texts, and clips of sound."""

from collections.abc import Iterable, Sequence
from typing import Any

from datasets import Dataset
from tqdm.auto import tqdm

from ..model.audio_tacfn import load_audio
from ..model.decoding_tacfn import AudioError
from ..model.utterances_tacfn import is_blank
from ..pages.page import CLIP_RATE, sound


class CorpusRows:
    """
    Texts and sound of a corpus by the ids of a run's rows.

    Attributes:
        texts: the text of each row, None where it has none; empty where there is no corpus.

    Raises:
        ValueError: the corpus lacks a row.
    """

    def __init__(self, rows: Dataset | None, ids: Sequence[str]):
        self.rows, self.place, self.texts = rows, {}, {}
        if rows is None:
            return
        self.place = {name: i for i, name in enumerate(rows.with_format(None)["id"][:])}
        lacking = [name for name in ids if name not in self.place]
        if lacking:
            raise ValueError(
                f"The corpus has no row with the id {lacking[0]!r}, and lacks {len(lacking)} of {len(ids)} rows of the "
                "run: give the corpus that its features were made of, with the same corpus_options."
            )
        texts = rows["text"][:] if "text" in rows.column_names else [None] * len(rows)
        self.texts = {name: None if is_blank(texts[self.place[name]]) else texts[self.place[name]] for name in ids}

    def sound_of(self, name: str) -> Any:
        """What `load_audio` takes, None where a row has no audio."""
        if self.rows is None or "audio" not in self.rows.column_names:
            return None
        audio = self.rows[self.place[name]]["audio"]
        return None if is_blank(audio) else audio

    def has_sound(self, name: str) -> bool:
        """Whether a row has audio."""
        return self.sound_of(name) is not None

    def clips(self, names: Iterable[str], count: int) -> tuple[dict[str, str], dict[str, str]]:
        """
        The sound of the first `count` of these rows that have some, each row once, as addresses of `sound`; and by
        name the error of each that can't be decoded.
        """
        clips, bad = dict[str, str](), dict[str, str]()
        heard = [name for name in dict.fromkeys(names) if self.has_sound(name)][:count]
        for name in tqdm(heard, desc="clips", disable=None):
            try:
                clips[name] = sound([load_audio(self.sound_of(name), CLIP_RATE, name=f"The audio of id {name!r}")])
            except AudioError as error:
                bad[name] = str(error)
        return clips, bad
