# Training runs, one record each. With `share_process` one process trains many runs, because starting torch and timm takes
# longer than training a mini model.
#
# `update` keeps finished runs in place, also those that finished after Snakemake was killed; the command trains only runs
# whose record is missing or out of date. When a run fails, Snakemake restores older records and regards the job as done;
# the missing stamp makes it run again.

if STUDY.share_process:

    rule train:
        input:
            stores=expand(STORE, dataset=STUDY.datasets),
            weights=expand(GFM_CARD, gfm=STUDY.gfms),
        output:
            records=update(
                expand(
                    RECORD,
                    dataset=STUDY.datasets,
                    gfm=STUDY.gfms,
                    seed=STUDY.seeds,
                    allow_missing=True,
                )
            ),
            stamp=touch(f"{RESULTS}/runs/{{method}}.finished"),
        log:
            f"results/logs/train/{STUDY.name}/{{method}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/{{method}}.tsv"
        wildcard_constraints:
            method=one_of(STUDY.methods),
        conda:
            "../envs/deflect.yml"
        params:
            deflect=deflect,
            code=code_sha256("train"),
            settings=lambda w: settings(w.method),
        message:
            "train {wildcards.method}"
        shell:
            "{params.deflect} train --method {wildcards.method} --threads {threads} &> {log}"

    # Starts first if possible, because it takes longest.
    rule train_additional:
        input:
            stores=expand(STORE, dataset=STUDY.variants.datasets),
            weights=expand(GFM_CARD, gfm=STUDY.variants.gfms),
        output:
            records=update(ADDITIONAL_RECORDS),
            stamp=touch(f"{RESULTS}/runs/additional.finished"),
        log:
            f"results/logs/train/{STUDY.name}/additional.log",
        benchmark:
            f"{RESULTS}/benchmarks/additional.tsv"
        priority: 1
        conda:
            "../envs/deflect.yml"
        params:
            deflect=deflect,
            code=code_sha256("train"),
            names=ADDITIONAL,
            settings=[settings(name) for name in ADDITIONAL],
        message:
            "train the additional runs"
        shell:
            "{params.deflect} train --method {params.names:q} --threads {threads} &> {log}"

else:

    rule train:
        input:
            store=STORE,
            weights=GFM_CARD,
        output:
            record=update(RECORD),
            stamp=touch(f"{RUN}/finished"),
        log:
            f"results/logs/train/{STUDY.name}/{{dataset}}.{{gfm}}.{{method}}.{{seed}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/{{dataset}}.{{gfm}}.{{method}}.{{seed}}.tsv"
        wildcard_constraints:
            method=one_of([*STUDY.methods, *ADDITIONAL]),
        conda:
            "../envs/deflect.yml"
        threads: 4
        resources:
            gpu=1,
            mem_mb=32000,
            runtime="24h",
        params:
            deflect=deflect,
            code=code_sha256("train"),
            settings=lambda w: settings(w.method),
        message:
            "train {wildcards.method} on {wildcards.dataset}, {wildcards.gfm}, seed {wildcards.seed}"
        shell:
            "{params.deflect} train --dataset {wildcards.dataset} --gfm {wildcards.gfm} --method {wildcards.method:q} --seed {wildcards.seed} --threads {threads} &> {log}"
