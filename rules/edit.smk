# Step 4: draw the edited picture, then put it back at the size of the photograph.


rule edit:
    input:
        image=f"{CASE}/features/image.safetensors",
        text=f"{CASE}/edit/{{edit}}/text.safetensors",
        embedding=embedding_if_used,
        lora=lora_if_used,
        kernel=kernel_if_used,
        source_text=source_text_if_used,
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
    conda:
        "../envs/editinfinity.yaml"
    resources:
        gpu=1,
    params:
        **named(
            model=MODEL,
            top_k=of_edit("top_k"),
            top_p=of_edit("top_p"),
            guidance=guidance,
            lock_scales=of_edit("lock_scales"),
            version=rule_version("edit"),
        ),
    message:
        "{wildcards.case}: draw {wildcards.edit}, {wildcards.variant}"
    script:
        "../scripts/edit.py"


rule finish:
    input:
        picture=pictures_to_choose_from,
        kernel=kernels_of_candidates,
        selection=selection_if_made,
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
    retries: 0
    conda:
        "../envs/pictures.yaml"
    params:
        **named(
            image=image_path,
            image_fingerprint=image_fingerprint,
            background=of_edit("background"),
            mask_feather=of_edit("mask_feather"),
            gps=of_edit("gps"),
            version=rule_version("finish"),
        ),
    message:
        "{wildcards.case}: finish {wildcards.edit} at the size of the photograph"
    script:
        "../scripts/finish.py"
