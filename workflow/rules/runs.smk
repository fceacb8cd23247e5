# Training runs. One record per run; `share_process` lets one process do all short runs of a method, because starting
# torch and timm takes longer than training a mini model.

if STUDY.share_process:

    # `update` keeps finished runs in place; the command trains only those whose record is missing or out of date.
    rule train:
        input:
            stores=stores(STUDY.datasets),
            weights=expand(WEIGHTS, gfm=STUDY.gfms),
            code=TRAINING,
        output:
            records=update(
                expand(
                    RUNS,
                    dataset=STUDY.datasets,
                    gfm=STUDY.gfms,
                    seed=STUDY.seeds,
                    allow_missing=True,
                )
            ),
        log:
            f"results/logs/train/{STUDY.name}/{{method}}.log",
        benchmark:
            f"{STUDY.results}/benchmarks/{{method}}.tsv"
        conda:
            "../envs/deflect.yml"
        params:
            settings=settings,
        shell:
            "python -m deflect train --method {wildcards.method} --threads {threads} &> {log}"

    rule train_variant:
        input:
            stores=stores(STUDY.variants.datasets),
            weights=expand(WEIGHTS, gfm=STUDY.variants.gfms),
            code=TRAINING,
        output:
            records=update(
                expand(
                    VARIANT_RUNS,
                    dataset=STUDY.variants.datasets,
                    gfm=STUDY.variants.gfms,
                    seed=VARIANT_SEEDS,
                    allow_missing=True,
                )
            ),
        log:
            f"results/logs/train/{STUDY.name}/{{variant}}.log",
        conda:
            "../envs/deflect.yml"
        params:
            settings=settings,
        shell:
            "python -m deflect train --method {wildcards.variant:q} --threads {threads} &> {log:q}"

else:

    rule train:
        input:
            store=STORE,
            weights=WEIGHTS,
            code=TRAINING,
        output:
            record=RUNS,
        log:
            f"results/logs/train/{STUDY.name}/{{dataset}}.{{gfm}}.{{method}}.{{seed}}.log",
        benchmark:
            f"{STUDY.results}/benchmarks/{{dataset}}.{{gfm}}.{{method}}.{{seed}}.tsv"
        conda:
            "../envs/deflect.yml"
        threads: 4
        resources:
            gpu=1,
            mem_mb=32000,
            runtime="24h",
        params:
            settings=settings,
        shell:
            "python -m deflect train --dataset {wildcards.dataset} --gfm {wildcards.gfm} --method {wildcards.method} --seed {wildcards.seed} --threads {threads} &> {log}"

    use rule train as train_variant with:
        output:
            record=VARIANT_RUNS,
        log:
            f"results/logs/train/{STUDY.name}/{{dataset}}.{{gfm}}.{{variant}}.{{seed}}.log",
        benchmark:
            f"{STUDY.results}/benchmarks/{{dataset}}.{{gfm}}.{{variant}}.{{seed}}.tsv"
