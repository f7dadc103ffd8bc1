# Where to edit: from the user's mask, the attention map of a word, or the prompt maps, to the blend
# mask G.


rule attention_map:
    input:
        image=f"{CASE}/features/image.safetensors",
        text=f"{CASE}/features/text_plain.safetensors",
    output:
        f"{CASE}/mask/{{edit}}/attention.safetensors",
    log:
        f"{CASE}/logs/mask/{{edit}}/attention_map.log",
    benchmark:
        f"{CASE}/benchmark/mask/{{edit}}/attention_map.tsv"
    priority: 8
    conda:
        "../envs/editinfinity.yaml"
    resources:
        gpu=1,
    params:
        **named(
            target_word_fingerprint=PARAMS.target_word_fingerprint,
            model=PARAMS.transformer,
            version=rule_version("attention_map"),
        ),
    message:
        "{wildcards.case}: locate the target word of {wildcards.edit}"
    script:
        "../scripts/attention_map.py"


rule prompt_map:
    input:
        image=f"{CASE}/features/image.safetensors",
        source=f"{CASE}/features/text_plain.safetensors",
        target=f"{CASE}/edit/{{edit}}/text_plain.safetensors",
    output:
        f"{CASE}/mask/{{edit}}/prompt_map.safetensors",
    log:
        f"{CASE}/logs/mask/{{edit}}/prompt_map.log",
    benchmark:
        f"{CASE}/benchmark/mask/{{edit}}/prompt_map.tsv"
    priority: 8
    conda:
        "../envs/editinfinity.yaml"
    resources:
        gpu=1,
    params:
        **named(
            model=PARAMS.transformer,
            version=rule_version("prompt_map"),
        ),
    message:
        "{wildcards.case}: find the place of {wildcards.edit}"
    script:
        "../scripts/prompt_map.py"


rule mask_pictures:
    input:
        image=f"{CASE}/features/image.safetensors",
        attention=INPUTS.attention("mask_source"),
        prompt_map=INPUTS.prompt_map("mask_source"),
    output:
        mask=f"{CASE}/mask/{{edit}}/mask.png",
        heatmap=f"{CASE}/mask/{{edit}}/heatmap.png",
    log:
        f"{CASE}/logs/mask/{{edit}}/pictures.log",
    benchmark:
        f"{CASE}/benchmark/mask/{{edit}}/pictures.tsv"
    # Before training, so that a wrong mask is noticed early.
    priority: 9
    conda:
        "../envs/pictures.yaml"
    params:
        **named(
            **PARAMS.of_mask("mask_source"),
            version=rule_version("mask_pictures"),
        ),
    message:
        "{wildcards.case}: draw the region of {wildcards.edit}"
    script:
        "../scripts/mask_pictures.py"


rule kernel:
    input:
        image=f"{CASE}/features/image.safetensors",
        attention=INPUTS.attention("mask_source"),
        prompt_map=INPUTS.prompt_map("mask_source"),
    output:
        f"{CASE}/mask/{{edit}}/kernel-{{smoothing}}.safetensors",
    log:
        f"{CASE}/logs/mask/{{edit}}/kernel-{{smoothing}}.log",
    benchmark:
        f"{CASE}/benchmark/mask/{{edit}}/kernel-{{smoothing}}.tsv"
    # Before training, so that an implausible mask is refused early.
    priority: 9
    conda:
        "../envs/pictures.yaml"
    params:
        **named(
            **PARAMS.of_mask("mask_source"),
            version=rule_version("kernel"),
        ),
    message:
        "{wildcards.case}: make the {wildcards.smoothing} blend mask of {wildcards.edit}"
    script:
        "../scripts/kernel.py"
