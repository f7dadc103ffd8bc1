"""Worker processes that keep models loaded between jobs, and locks that give a GPU to one job.

Each job of the workflow is a separate process, and would spend more time on importing and loading
than on editing. Instead, a job leases a GPU (``leases``), sends its stage over a Unix socket
(``protocol``, ``client``) to the worker process that serves that GPU (``server``, ``warm``), and
reports the outcome. The first job starts the worker. If no worker is available, the stage runs in
the job's own process (``dispatch``). All files of one run of the workflow are in one private
folder, which is removed when the run ends (``session``).
"""
