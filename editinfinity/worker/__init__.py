"""One warm model for all jobs of a workflow, and one job at a time on a card.

A job of the workflow is a process of its own, and would spend more time on importing and loading
than on editing. So it leases a card (``leases``), hands its stage over a Unix socket (``protocol``,
``client``) to a worker that serves that card (``server``, ``warm``), and tells its outcome. The
first job starts the worker; where none can be had, the stage runs in the job's own process
(``dispatch``). What belongs to one run of the workflow lies in one private folder and ends with it
(``session``).
"""
