# Step 1: check the user's files, then encode the photograph and the prompts once.
#
# The later the stage, the higher its priority, here and in the other files: from 0 for the check to
# 13. So a photograph that has been begun is finished first, and the pictures of a batch come one
# after the other, not all at its end.


rule check:
    output:
        f"{CASE}/check.json",
    log:
        f"{CASE}/logs/check.log",
    benchmark:
        f"{CASE}/benchmark/check.tsv"
    # Priority 0, below all others: the next photograph is begun when nothing else can run.
    # Retrying would not fix a user's files, even if a profile sets retries.
    retries: 0
    localrule: True
    conda:
        "../envs/pictures.yaml"
    params:
        **named(
            image_fingerprint=PARAMS.image_fingerprint,
            version=rule_version("check"),
        ),
    message:
        "{wildcards.case}: check the image, prompts and masks"
    script:
        "../scripts/check.py"


rule jsonl:
    input:
        check=f"{CASE}/check.json",
    output:
        f"{CASE}/splits/train.jsonl",
    log:
        f"{CASE}/logs/jsonl.log",
    benchmark:
        f"{CASE}/benchmark/jsonl.tsv"
    priority: 1
    retries: 0
    localrule: True
    conda:
        "../envs/pictures.yaml"
    params:
        **named(
            image=PARAMS.image,
            source_prompt_fingerprint=PARAMS.source_prompt_fingerprint,
            version=rule_version("jsonl"),
        ),
    message:
        "{wildcards.case}: write the training table"
    script:
        "../scripts/jsonl.py"


rule image_features:
    input:
        check=f"{CASE}/check.json",
    output:
        f"{CASE}/features/image.safetensors",
    log:
        f"{CASE}/logs/image_features.log",
    benchmark:
        f"{CASE}/benchmark/image_features.tsv"
    priority: 2
    conda:
        "../envs/editinfinity.yaml"
    resources:
        gpu=1,
    params:
        **named(
            image=PARAMS.image,
            image_fingerprint=PARAMS.image_fingerprint,
            model=PARAMS.model,
            pixel_budget=PARAMS.of_case("pixel_budget"),
            crop=PARAMS.crop,
            version=rule_version("image_features"),
        ),
    message:
        "{wildcards.case}: encode the image"
    script:
        "../scripts/image_features.py"


rule text_features:
    input:
        jsonl=f"{CASE}/splits/train.jsonl",
    output:
        f"{CASE}/features/{{text}}.safetensors",
    log:
        f"{CASE}/logs/{{text}}_features.log",
    benchmark:
        f"{CASE}/benchmark/{{text}}_features.tsv"
    priority: 3
    conda:
        "../envs/editinfinity.yaml"
    resources:
        gpu=1,
    params:
        **named(
            model=PARAMS.text_model,
            version=rule_version("text_features"),
        ),
    message:
        "{wildcards.case}: encode the source prompt"
    script:
        "../scripts/text_features.py"


rule edit_text_features:
    input:
        check=f"{CASE}/check.json",
    output:
        f"{CASE}/edit/{{edit}}/{{text}}.safetensors",
    log:
        f"{CASE}/logs/edit/{{edit}}/{{text}}_features.log",
    benchmark:
        f"{CASE}/benchmark/edit/{{edit}}/{{text}}_features.tsv"
    priority: 4
    conda:
        "../envs/editinfinity.yaml"
    resources:
        gpu=1,
    params:
        **named(
            edit_prompt_fingerprint=PARAMS.edit_prompt_fingerprint,
            model=PARAMS.text_model,
            version=rule_version("edit_text_features"),
        ),
    message:
        "{wildcards.case}: encode the prompt of {wildcards.edit}"
    script:
        "../scripts/edit_text_features.py"
