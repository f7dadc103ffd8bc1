"""Study of edits from two prompts: each method of drawing × each way of finding the place.

``python -m training.two_prompts`` makes the scenes, finds and draws, and fills in the tables of the
documentation; docs/which_way.md shows the results.
"""
