"""The study: which techniques pay on your network and your data, with honest intervals."""

from .conduct import Study, study
from .finished import load_study
from .planned import prepare

__all__ = ["Study", "load_study", "prepare", "study"]
