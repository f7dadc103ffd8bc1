# Edit photographs by text: Snakemake knows the dependencies, editinfinity does the work.
#
#   snakemake --cores 1 --resources gpu=1                          the cases of config.yaml
#   snakemake --cores 1 --resources gpu=1 --config cases=[photo]   a single case
#
# docs/architecture.md shows the data flow; config.yaml explains every setting.


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


# Runs before the first job, not in a dry run. Workers keep models loaded until the run ends.
onstart:
    begin()


# Both print the final summary: the outcome of every case and edit, and which files to open.
onsuccess:
    end(succeeded=True)


onerror:
    end(succeeded=False)
