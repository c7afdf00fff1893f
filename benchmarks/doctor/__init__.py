"""The labelled benchmark that judges the doctor: programs × faults × severities × seeds, and healthy controls."""
