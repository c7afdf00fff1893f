"""Pages: what a study found, as one self-contained HTML file. Pages show; they compute nothing that decides anything."""

from .page import study_page

__all__ = ["study_page"]
