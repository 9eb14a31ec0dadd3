"""Reports: `Summary` in, one text a format out.

A format is a module with ``render(Summary) -> str``, imported when it is asked for, since a template
engine and an XML library are no part of a fast start.
"""

from pipeline.report.summary import Row, Stage, Summary, clean

__all__ = ["Row", "Stage", "Summary", "clean"]
