"""What a run has made: outcomes, warnings, contact sheets, tables and the report page."""
