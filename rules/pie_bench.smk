# PIE-Bench: its pictures are the cases (pie_bench: FOLDER), each edited with and without its mask.
#
#   snakemake pie_bench --cores 1 --resources gpu=1 --config pie_bench=PIE-Bench_v1


# The table is made when a run ends (editinfinity/results/summary.py), not by a rule: a failed entry
# then leaves a gap in it, and the table is still made.
rule pie_bench:
    input:
        RUN.pie_bench_targets,
