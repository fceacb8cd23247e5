# Training runs. One record per run; `share_process` lets one process do all short runs of a method, because starting
# torch and timm takes longer than training a mini model.
#
# `update` keeps finished runs in place, also those that finished after Snakemake was killed; the command trains only runs
# whose record is missing or out of date. When a run fails, Snakemake puts older records back and notes the job as done:
# only the missing stamp tells that it is not.

if STUDY.share_process:

    rule train:
        input:
            stores=stores(STUDY.datasets),
            weights=expand(GFM_CARD, gfm=STUDY.gfms),
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
            stamp=touch(STAMP),
        log:
            f"results/logs/train/{STUDY.name}/{{method}}.log",
        benchmark:
            f"{STUDY.results}/benchmarks/{{method}}.tsv"
        wildcard_constraints:
            method=one_of(STUDY.methods),
        conda:
            "../envs/deflect.yml"
        params:
            settings=lambda w: settings(w.method),
        shell:
            "python -m deflect train --method {wildcards.method} --threads {threads} &> {log}"

    # One job per method that has variants, so that a change of a method's setting leaves the others' alone.
    for base in filter(variants_of, STUDY.methods):

        rule:
            name:
                f"train_{base}_variants"
            input:
                stores=stores(STUDY.variants.datasets),
                weights=expand(GFM_CARD, gfm=STUDY.variants.gfms),
                code=TRAINING,
            output:
                records=update(variant_records(variants_of(base))),
                stamp=touch(STAMP.format(method=f"{base}_variants")),
            log:
                f"results/logs/train/{STUDY.name}/{base}_variants.log",
            conda:
                "../envs/deflect.yml"
            params:
                variants=variants_of(base),
                settings=[settings(name) for name in variants_of(base)],
            shell:
                "python -m deflect train --method {params.variants:q} --threads {threads} &> {log}"

else:

    rule train:
        input:
            store=STORE,
            weights=GFM_CARD,
            code=TRAINING,
        output:
            record=update(RUNS),
            stamp=touch(RUN_STAMP),
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
            settings=lambda w: settings(w.method),
        shell:
            "python -m deflect train --dataset {wildcards.dataset} --gfm {wildcards.gfm} --method {wildcards.method:q} --seed {wildcards.seed} --threads {threads} &> {log}"
