"""What the two modalities are called: in words, in a batch, and in a config or a dataset."""

from typing import NamedTuple


class Modality(NamedTuple):
    """
    The names of one modality.

    Attributes:
        name: the modality in words, such as "audio"; also the prefix of its modules and settings.
        features: its features in a batch, and their column in a dataset, such as "h_a".
        mask: the padding mask of the features in a batch, such as "mask_a".
    """

    name: str
    features: str
    mask: str

    @property
    def provenance(self) -> str:
        """What made the features: the name in a config, in a processor and of a column."""
        return f"{self.name}_provenance"

    @property
    def feature_size(self) -> str:
        """The size of one feature vector: its name in a config."""
        return f"{self.name}_feature_size"


MODALITIES = (Modality("audio", "h_a", "mask_a"), Modality("text", "h_t", "mask_t"))
