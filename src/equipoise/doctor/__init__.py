"""The doctor: what is wrong with a training set-up, why, and what mends it."""

from __future__ import annotations

from .course import Course
from .diagnose import Diagnosis, diagnose, doctor

__all__ = ["Course", "Diagnosis", "diagnose", "doctor"]
