"""The study: which techniques pay on your network and your data, with honest intervals."""

from .conduct import Study, prepare, study

__all__ = ["Study", "prepare", "study"]
