# The HTML page of all results. Every run makes it at its end, even if jobs failed, so it is not the
# output of a rule: that rule would wait for all cases, and rerun for each of them.


rule report:
    localrule: True
    message:
        "write {RESULTS}/report.html"


# If a run was killed after its last job, only its final report is missing. onsuccess makes it,
# but Snakemake calls that only if a job ran. This rule is that job (planning/run_marker.py).
rule tell:
    output:
        touch(f"{RESULTS}/{REPORT_TARGET}-{{killed}}"),
    localrule: True
    message:
        "make the final report of the previous run, which was killed"


# Introduction of `snakemake --report FILE`; rules mark its pictures with report(..., caption=...).
report: "captions/workflow.rst"
