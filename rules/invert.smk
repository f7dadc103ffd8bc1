# Steps 2 and 3: learn the photograph, first as 20 vectors appended to its prompt, then as a LoRA.
#
# Training resumes from the last checkpoint at a multiple of checkpoint_every, so that going from 50
# to 100 iterations trains only 50. If train_X is 0, the rule does not apply to the case, and an
# existing checkpoint is used as it is.


rule train_textembedding:
    input:
        image=f"{CASE}/features/image.safetensors",
        text=f"{CASE}/features/text.safetensors",
        before=INPUTS.embedding_before,
    output:
        embedding=f"{CASE}/text_embedding/iter{{iteration}}.safetensors",
        state=f"{CASE}/text_embedding/iter{{iteration}}.state.safetensors",
        losses=report(
            f"{CASE}/text_embedding/iter{{iteration}}.losses.tsv",
            caption="captions/losses.rst",
            category="Losses",
            subcategory="{case}",
            labels={"learned": "text embedding", "to iteration": "{iteration}"},
        ),
    log:
        f"{CASE}/logs/text_embedding/iter{{iteration}}.log",
    benchmark:
        f"{CASE}/benchmark/text_embedding/iter{{iteration}}.tsv"
    wildcard_constraints:
        case=cases_that_train(RUN.cases, TRAIN_EMBEDDING),
    priority: 5
    conda:
        "../envs/editinfinity.yaml"
    resources:
        gpu=1,
    params:
        **named(
            model=PARAMS.transformer,
            **PARAMS.of_group(
                TrainingSettings, without=["lora_learning_rate", "batch_size"]
            ),
            batch_size=PARAMS.embedding_batch_size,
            version=rule_version("train_textembedding"),
        ),
    message:
        "{wildcards.case}: train the text embedding to iteration {wildcards.iteration}"
    script:
        "../scripts/train_textembedding.py"


rule train_lora:
    input:
        image=f"{CASE}/features/image.safetensors",
        text=INPUTS.text_of_lora,
        embedding=INPUTS.embedding_of_lora,
        before=INPUTS.lora_before,
    output:
        weights=f"{CASE}/lora/embedding{{embedding}}/iter{{iteration}}/adapter_model.safetensors",
        config=f"{CASE}/lora/embedding{{embedding}}/iter{{iteration}}/adapter_config.json",
        state=f"{CASE}/lora/embedding{{embedding}}/iter{{iteration}}/state.safetensors",
        losses=report(
            f"{CASE}/lora/embedding{{embedding}}/iter{{iteration}}/losses.tsv",
            caption="captions/losses.rst",
            category="Losses",
            subcategory="{case}",
            labels={
                "learned": "LoRA over embedding {embedding}",
                "to iteration": "{iteration}",
            },
        ),
    log:
        f"{CASE}/logs/lora/embedding{{embedding}}/iter{{iteration}}.log",
    benchmark:
        f"{CASE}/benchmark/lora/embedding{{embedding}}/iter{{iteration}}.tsv"
    wildcard_constraints:
        case=cases_that_train(RUN.cases, TRAIN_LORA),
    priority: 7
    conda:
        "../envs/editinfinity.yaml"
    resources:
        gpu=1,
    params:
        **named(
            model=PARAMS.lora_transformer,
            **PARAMS.of_group(TrainingSettings, without=["embedding_learning_rate"]),
            **PARAMS.of_group(LoraSettings, without=["precision"]),
            version=rule_version("train_lora"),
        ),
    message:
        "{wildcards.case}: train LoRA to iteration {wildcards.iteration}"
    script:
        "../scripts/train_lora.py"
