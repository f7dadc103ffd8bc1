"""Does the method do on the bundled model what the paper says? 120 held-out edits, drawn every way.

    python -m training.ablation          # makes the edits, draws them, writes the tables

``edits`` makes and packs the set, ``variants`` says what is compared, ``many`` inverts and draws
many pictures at once, ``measures`` judges what was drawn, ``drawing`` puts these together, and
``tables`` turns its rows into the pages of ``docs/``. Only the first needs the training's assets,
only drawing is heavy (minutes on a GPU); tables are made anew from ``training/studies/ablation``.
"""
