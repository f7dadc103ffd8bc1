# Edit photographs by text: Snakemake says what depends on what, editinfinity does the work.
#
#   snakemake --cores 1 --resources gpu=1                          the cases of config.yaml
#   snakemake --cores 1 --resources gpu=1 --config cases=[photo]   another one
#
# docs/architecture.md has the picture of the data; config.yaml explains every setting.


include: "rules/common.smk"


rule all:
    input:
        RUN.targets(),
    localrule: True


include: "rules/prepare.smk"
include: "rules/invert.smk"
include: "rules/mask.smk"
include: "rules/edit.smk"
include: "rules/evaluate.smk"
include: "rules/pie_bench.smk"
include: "rules/report.smk"


# Before the first job, not in a dry run. While jobs run, workers keep the models warm for them; they
# go when the run is over.
onstart:
    begin()


# What the user sees last: every case and edit, how it went, and what to open.
onsuccess:
    end()


onerror:
    end()
