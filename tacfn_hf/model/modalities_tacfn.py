"""What the two modalities are called."""

from typing import NamedTuple


class Modality(NamedTuple):
    """One modality, and the names that go with it."""

    name: str
    features: str
    mask: str

    @property
    def provenance(self) -> str:
        """The field of the config, and the column of a dataset, that say what made the features."""
        return f"{self.name}_provenance"

    @property
    def feature_size(self) -> str:
        """The field of the config with the size of one feature vector."""
        return f"{self.name}_feature_size"


MODALITIES = (Modality("audio", "h_a", "mask_a"), Modality("text", "h_t", "mask_t"))
