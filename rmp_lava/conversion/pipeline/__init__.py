"""The pipelines from a trained to a quantised spiking network, without training (`convert`) and with it (`tune`)."""

from .converting import convert as convert
from .tuning import tune as tune
