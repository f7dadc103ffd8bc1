"""Rule edit: draw the edited picture."""

from editinfinity.planning.job import job
from editinfinity.planning.variants import parse_variant
from editinfinity.settings.groups import SamplingSettings

with job(snakemake) as this:
    this.require_valid_folder()
    variant, lora = parse_variant(snakemake.wildcards.variant), this.input("lora")
    this.run(
        "edit",
        image_features=this.required_input("image"),
        text_features=this.required_input("text"),
        embedding=this.input("embedding"),
        lora_dir=lora.parent if lora else None,
        kernel=this.input("kernel"),
        source_text=this.input("source_text"),
        guidance=this.guidance,
        lock_scales=this.params["lock_scales"],
        output=this.output("picture"),
        settings=this.output("settings"),
        sampling=this.settings(
            SamplingSettings, cfg=variant.cfg, tau=variant.tau, seed=variant.seed
        ),
    )
