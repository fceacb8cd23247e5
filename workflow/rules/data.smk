# Raw files in their published formats, and prepared stores.


# The simulator replaces the whole folder of a dataset, so one file in it is the output. A failed job leaves the old folder
# and no stamp, so Snakemake runs it again.
rule simulate:
    output:
        mark=update("data/simulated/{dataset}/SIMULATED.json"),
        stamp=touch("data/simulated/{dataset}.finished"),
    log:
        "results/logs/simulate/{dataset}.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("simulate"),
        settings=lambda w: [
            STUDY.simulation["seed"],
            STUDY.simulation["sizes"].get(w.dataset),
        ],
    message:
        "simulate {wildcards.dataset}"
    shell:
        "{params.deflect} data simulate {wildcards.dataset} &> {log}"


rule simulate_rgb:
    output:
        images="data/simulated/rgb.npy",
    log:
        "results/logs/simulate/rgb.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("simulate"),
        settings=[
            STUDY.simulation.get(key) for key in ("seed", "rgb_images", "rgb_pixels")
        ],
    message:
        "simulate RGB images for pretraining"
    shell:
        "{params.deflect} data simulate --rgb &> {log}"


# The output is a stamp, because Snakemake deletes the outputs of a failed job and the download must be kept.
rule fetch:
    output:
        stamp=touch("data/raw/archives/{dataset}.fetched"),
    log:
        "results/logs/fetch/{dataset}.log",
    retries: 2
    conda:
        "../envs/deflect.yml"
    resources:
        download=1,
    params:
        deflect=deflect,
    message:
        "fetch {wildcards.dataset}"
    shell:
        "{params.deflect} data fetch {wildcards.dataset} &> {log}"


# A part of the work of `prepare`, on a machine of its own. The arrays are in a temporary folder until `prepare` has checked
# them, and the stamp says that a part is done.
rule prepare_part:
    input:
        raw=raw_files,
    output:
        stamp=touch(PART),
    log:
        f"results/logs/prepare/{STUDY.name}/{{dataset}}.{{part}}.log",
    conda:
        "../envs/deflect.yml"
    threads: 1 if STUDY.simulated else 4
    params:
        deflect=deflect,
        code=code_sha256("prepare"),
        files=own_files,
        settings=accepted,
        parts=STUDY.prepare_jobs,
    message:
        "prepare {wildcards.dataset}, part {wildcards.part} of {params.parts}"
    shell:
        "{params.deflect} data prepare {wildcards.dataset} --part {wildcards.part}/{params.parts} --jobs {threads} &> {log}"


# Only the card, which has the hash of every array, is an output: `update` copies outputs, and the arrays are large. The
# command keeps a store that was made from the same files with the same code.
rule prepare:
    input:
        raw=raw_files,
        parts=prepared_parts,
    output:
        card=update(STORE),
        stamp=touch(f"data/prepared/{STUDY.name}/{{dataset}}.finished"),
    log:
        f"results/logs/prepare/{STUDY.name}/{{dataset}}.log",
    conda:
        "../envs/deflect.yml"
    threads: 1 if STUDY.simulated else 4
    params:
        deflect=deflect,
        code=code_sha256("prepare"),
        files=own_files,
        settings=accepted,
    message:
        "prepare {wildcards.dataset}"
    shell:
        "{params.deflect} data prepare {wildcards.dataset} --jobs {threads} &> {log}"
