# The page of everything in the results. Each run ends with it, when jobs have failed too, so it is no
# output of a rule: one over all cases would wait for them all, and run again for each of them.


rule report:
    message:
        "write {RESULTS}/report.html"


# What `snakemake --report FILE` says above its pictures; the rules mark those, with their captions.
report: "captions/workflow.rst"
