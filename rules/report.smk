# The page of everything in the results. Each run ends with it, when jobs have failed too, so it is no
# output of a rule: one over all cases would wait for them all, and run again for each of them.


rule report:
    localrule: True
    message:
        "write {RESULTS}/report.html"


# A run that was killed after its last job leaves nothing to do but to tell its end, which Snakemake
# does (onsuccess) only where there was a job. This is one: editinfinity/planning/run_marker.py.
rule tell:
    output:
        touch(f"{RESULTS}/{TELLING}-{{killed}}"),
    localrule: True
    message:
        "tell how the run before this one ended"


# What `snakemake --report FILE` says above its pictures; the rules mark those, with their captions.
report: "captions/workflow.rst"
