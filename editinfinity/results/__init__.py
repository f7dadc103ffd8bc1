"""Summaries of a run: outcomes, warnings, contact sheets, metric tables and the report page."""
