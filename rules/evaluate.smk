# Metrics of the edits, and the choice of the variant of a sweep that becomes the result.


# Written beside every picture. results/metrics.tsv collects them when a run ends, like the contact
# sheets: a rule over all cases would wait for each of them, and would not run if one fails.
rule metrics:
    input:
        picture=f"{CASE}/edit/{{edit}}/{{variant}}.png",
        attention=INPUTS.attention("judged_mask"),
        prompt_map=INPUTS.prompt_map("judged_mask"),
    output:
        f"{CASE}/edit/{{edit}}/{{variant}}.metrics.json",
    log:
        f"{CASE}/logs/edit/{{edit}}/{{variant}}.metrics.log",
    benchmark:
        f"{CASE}/benchmark/edit/{{edit}}/{{variant}}.metrics.tsv"
    priority: 12
    conda:
        "../envs/editinfinity.yaml"
    # Runs in the worker, which keeps torch and the models of the metrics loaded.
    resources:
        gpu=1,
    params:
        **named(
            image=PARAMS.image,
            image_fingerprint=PARAMS.image_fingerprint,
            **PARAMS.of_mask("judged_mask"),
            backbones=PARAMS.backbones,
            drawn_with=PARAMS.drawn_with,
            version=rule_version("metrics"),
        ),
    message:
        "{wildcards.case}: measure {wildcards.edit}, {wildcards.variant}"
    script:
        "../scripts/metrics.py"


rule select:
    input:
        metrics=INPUTS.metrics_of_variants,
    output:
        f"{CASE}/{{edit}}.selection.json",
    log:
        f"{CASE}/logs/edit/{{edit}}/select.log",
    benchmark:
        f"{CASE}/benchmark/edit/{{edit}}/select.tsv"
    priority: 13
    retries: 0
    localrule: True
    conda:
        "../envs/pictures.yaml"
    params:
        **named(
            select_floor=PARAMS.of_edit("select_floor"),
            version=rule_version("select"),
        ),
    message:
        "{wildcards.case}: choose among the variants of {wildcards.edit}"
    script:
        "../scripts/select.py"
