"""Job records, and the versions of the stage code that ran."""
