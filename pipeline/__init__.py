"""kpv: a kernel patch series in, a verdict on a real kernel out."""

__version__ = "0.1.0"
