"""The study: design, runs, effects with intervals, the trade, recommendation and confirmation."""
