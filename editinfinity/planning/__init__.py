"""Planning of a run: targets, variants, params and inputs of rules, fingerprints.

Rules call these modules while Snakemake builds the DAG, and scripts while their job runs. No module
here imports torch.
"""
