# Weights of the three GFMs, as safetensors in timm names: pretrained here for the mini study, fetched for the paper's.

if STUDY.gfm_size == "mini":

    rule pretrain:
        input:
            images="data/simulated/rgb.npy",
            code=source("gfms/*.py", "settings/pretraining.py"),
        output:
            weights=f"weights/{STUDY.name}/{{gfm}}.safetensors",
            card=GFM_CARD,
        log:
            f"results/logs/pretrain/{STUDY.name}/{{gfm}}.log",
        conda:
            "../envs/deflect.yml"
        params:
            settings=STUDY.pretraining,
        shell:
            "python -m deflect gfm pretrain {wildcards.gfm} &> {log}"

else:

    rule fetch_gfm:
        output:
            stamp="weights/downloads/{gfm}/fetched.json",
        log:
            "results/logs/fetch/{gfm}.log",
        retries: 2
        conda:
            "../envs/deflect.yml"
        resources:
            download=1,
        params:
            variant=lambda w: STUDY.weights.get(w.gfm),
        shell:
            "python -m deflect gfm fetch {wildcards.gfm} &> {log}"

    # The card alone is an output: `update` copies what it keeps, and the weights are large.
    rule convert_gfm:
        input:
            stamp="weights/downloads/{gfm}/fetched.json",
            code=source("gfms/*.py"),
        output:
            card=update(GFM_CARD),
            stamp=touch(f"weights/{STUDY.name}/{{gfm}}.converted"),
        log:
            f"results/logs/convert/{STUDY.name}/{{gfm}}.log",
        conda:
            "../envs/deflect.yml"
        shell:
            "(python -m deflect gfm convert {wildcards.gfm} && python -m deflect gfm verify {wildcards.gfm}) &> {log}"
