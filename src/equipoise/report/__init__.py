"""Pages: what a study found, as one self-contained HTML file. They show; nothing is decided here."""

from .page import study_page

__all__ = ["study_page"]
