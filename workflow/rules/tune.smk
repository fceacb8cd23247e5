# Searches for learning rate and rank, and the runs with the settings that they choose. Only in studies with `tuning`.
#
# A search keeps its trials in a database next to its result. Snakemake may delete the result of a job that failed or was
# killed; the command writes it again from the finished trials.
METHODS_OF_TUNED = [run.method for run in STUDY.tuned().values()]
TUNED_RECORDS = [
    RECORD.format(**run._asdict()) for run in STUDY.runs() if run.method in TUNED
]


def tuning(wildcards):
    """What decides the trials of a method, besides the code."""
    return [settings(wildcards.method), STUDY.tuning.model_dump(exclude={"methods"})]


def search_of(wildcards):
    """The search that a tuned run needs."""
    method = STUDY.tuned()[wildcards.method].method
    return SEARCH.format(**{**wildcards, "method": method})


if STUDY.share_process:

    rule tune:
        input:
            stores=expand(STORE, dataset=STUDY.variants.datasets),
            weights=expand(GFM_CARD, gfm=STUDY.variants.gfms),
        output:
            results=expand(
                SEARCH,
                dataset=STUDY.variants.datasets,
                gfm=STUDY.variants.gfms,
                allow_missing=True,
            ),
        log:
            f"results/logs/tune/{STUDY.name}/{{method}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/tune.{{method}}.tsv"
        wildcard_constraints:
            method=one_of(METHODS_OF_TUNED),
        conda:
            "../envs/deflect.yml"
        params:
            deflect=deflect,
            code=[code_sha256("train"), code_sha256("tune")],
            settings=tuning,
        message:
            "search the settings of {wildcards.method}"
        shell:
            "{params.deflect} tune --method {wildcards.method} --threads {threads} &> {log}"

    rule train_tuned:
        input:
            stores=expand(STORE, dataset=STUDY.variants.datasets),
            weights=expand(GFM_CARD, gfm=STUDY.variants.gfms),
            searches=expand(
                SEARCH,
                dataset=STUDY.variants.datasets,
                gfm=STUDY.variants.gfms,
                method=METHODS_OF_TUNED,
            ),
        output:
            records=update(TUNED_RECORDS),
            stamp=touch(f"{RESULTS}/runs/tuned.finished"),
        log:
            f"results/logs/train/{STUDY.name}/tuned.log",
        benchmark:
            f"{RESULTS}/benchmarks/tuned.tsv"
        conda:
            "../envs/deflect.yml"
        params:
            deflect=deflect,
            code=code_sha256("train"),
            names=TUNED,
            settings=[settings(name) for name in TUNED],
        message:
            "train the tuned runs"
        shell:
            "{params.deflect} train --method {params.names:q} --threads {threads} &> {log}"

else:

    rule tune:
        input:
            store=STORE,
            weights=GFM_CARD,
        output:
            result=SEARCH,
        log:
            f"results/logs/tune/{STUDY.name}/{{dataset}}.{{gfm}}.{{method}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/tune.{{dataset}}.{{gfm}}.{{method}}.tsv"
        wildcard_constraints:
            method=one_of(METHODS_OF_TUNED),
        conda:
            "../envs/deflect.yml"
        threads: 4
        resources:
            gpu=1,
            mem_mb=32000,
            runtime="72h",
        params:
            deflect=deflect,
            code=[code_sha256("train"), code_sha256("tune")],
            settings=tuning,
        message:
            "search the settings of {wildcards.method} on {wildcards.dataset}, {wildcards.gfm}"
        shell:
            "{params.deflect} tune --dataset {wildcards.dataset} --gfm {wildcards.gfm} --method {wildcards.method} --threads {threads} &> {log}"

    use rule train as train_tuned with:
        input:
            store=STORE,
            weights=GFM_CARD,
            search=search_of,
        wildcard_constraints:
            method=one_of(TUNED),
