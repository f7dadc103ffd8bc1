# Step 4: draw the edited picture, then make the result at the size of the photograph.


rule edit:
    input:
        image=f"{CASE}/features/image.safetensors",
        text=INPUTS.edit_text,
        embedding=INPUTS.embedding,
        lora=INPUTS.lora,
        kernel=INPUTS.kernel,
        source_text=INPUTS.source_text,
    output:
        picture=report(
            f"{CASE}/edit/{{edit}}/{{variant}}.png",
            caption="captions/variant.rst",
            category="Variants",
            subcategory="{case}",
            labels={"edit": "{edit}", "variant": "{variant}"},
        ),
        settings=f"{CASE}/edit/{{edit}}/{{variant}}.json",
    log:
        f"{CASE}/logs/edit/{{edit}}/{{variant}}.log",
    benchmark:
        f"{CASE}/benchmark/edit/{{edit}}/{{variant}}.tsv"
    priority: 10
    conda:
        "../envs/editinfinity.yaml"
    resources:
        gpu=1,
    params:
        **named(
            model=PARAMS.transformer,
            **PARAMS.of_group(SamplingSettings),
            guidance=PARAMS.guidance,
            lock_scales=PARAMS.of_edit("lock_scales"),
            version=rule_version("edit"),
        ),
    message:
        "{wildcards.case}: draw {wildcards.edit}, {wildcards.variant}"
    script:
        "../scripts/edit.py"


rule rendering:
    input:
        image=f"{CASE}/features/image.safetensors",
    output:
        f"{CASE}/features/rendering.png",
    log:
        f"{CASE}/logs/rendering.log",
    benchmark:
        f"{CASE}/benchmark/rendering.tsv"
    priority: 4
    conda:
        "../envs/editinfinity.yaml"
    resources:
        gpu=1,
    params:
        **named(
            model=PARAMS.model,
            version=rule_version("rendering"),
        ),
    message:
        "{wildcards.case}: render the image as the tokenizer shows it"
    script:
        "../scripts/rendering.py"


rule finish:
    input:
        picture=INPUTS.pictures_of_candidates,
        kernel=INPUTS.kernels_of_candidates,
        selection=INPUTS.selection,
        rendering=INPUTS.rendering,
    output:
        report(
            f"{CASE}/{{edit}}.png",
            caption="captions/edit.rst",
            category="Edits",
            labels={"case": "{case}", "edit": "{edit}"},
        ),
    log:
        f"{CASE}/logs/edit/{{edit}}/finish.log",
    benchmark:
        f"{CASE}/benchmark/edit/{{edit}}/finish.tsv"
    priority: 11
    retries: 0
    localrule: True
    conda:
        "../envs/pictures.yaml"
    params:
        **named(
            model=PARAMS.transformer,
            image=PARAMS.image,
            image_fingerprint=PARAMS.image_fingerprint,
            **PARAMS.of_group(FinishSettings),
            version=rule_version("finish"),
        ),
    message:
        "{wildcards.case}: finish {wildcards.edit} at the size of the photograph"
    script:
        "../scripts/finish.py"
