"""The record of a job, and the versions of the code that ran."""
