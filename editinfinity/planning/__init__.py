"""What a run would do: targets, variants, params and inputs of rules, fingerprints.

Rules ask here while Snakemake plans, and scripts while their job runs. Nothing here imports torch.
"""
