# PIE-Bench: its pictures are the cases (pie_bench: FOLDER), each edited with and without its mask.
#
#   snakemake pie_bench --cores 1 --resources gpu=1 --config pie_bench=PIE-Bench_v1


# The table is made when a run ends, from what was measured by then (editinfinity/results/summary.py),
# so that an entry that fails leaves a gap in it instead of no table.
rule pie_bench:
    input:
        RUN.pie_bench_targets,
