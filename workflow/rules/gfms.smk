# GFM weights as safetensors with timm's names: pretrained for the mini study, downloaded for the paper study, or a
# user's own, in either.
PUBLISHED = [name for name in STUDY.gfms if name not in STUDY.own_gfms]
OWN = [name for name in STUDY.gfms if name in STUDY.own_gfms]

# Only the card is an output: `update` copies outputs, and the weights are large.
if OWN:

    rule convert_own_gfm:
        input:
            weights=own_weights,
        output:
            card=update(GFM_CARD),
            stamp=touch(f"weights/{STUDY.name}/{{gfm}}.converted"),
        log:
            f"results/logs/convert/{STUDY.name}/{{gfm}}.log",
        wildcard_constraints:
            gfm=one_of(OWN),
        conda:
            "../envs/deflect.yml"
        params:
            deflect=deflect,
            code=code_sha256("convert"),
            settings=lambda w: STUDY.own_gfms[w.gfm].model_dump(),
        message:
            "convert and verify {wildcards.gfm}"
        shell:
            "({params.deflect} gfm convert {wildcards.gfm} && {params.deflect} gfm verify {wildcards.gfm}) &> {log}"


if STUDY.gfm_size == "mini":

    rule pretrain:
        input:
            images="data/simulated/rgb.npy",
        output:
            weights=f"weights/{STUDY.name}/{{gfm}}.safetensors",
            card=GFM_CARD,
        log:
            f"results/logs/pretrain/{STUDY.name}/{{gfm}}.log",
        wildcard_constraints:
            gfm=one_of(PUBLISHED),
        conda:
            "../envs/deflect.yml"
        params:
            deflect=deflect,
            code=code_sha256("pretrain"),
            settings=STUDY.pretraining,
        message:
            "pretrain {wildcards.gfm}"
        shell:
            "{params.deflect} gfm pretrain {wildcards.gfm} &> {log}"

else:

    rule fetch_gfm:
        output:
            stamp="weights/downloads/{gfm}/fetched.json",
        log:
            "results/logs/fetch/{gfm}.log",
        wildcard_constraints:
            gfm=one_of(PUBLISHED),
        retries: 2
        conda:
            "../envs/deflect.yml"
        resources:
            download=1,
        params:
            deflect=deflect,
            variant=lambda w: STUDY.weights.get(w.gfm),
        message:
            "fetch {wildcards.gfm}"
        shell:
            "{params.deflect} gfm fetch {wildcards.gfm} &> {log}"

    rule convert_gfm:
        input:
            stamp="weights/downloads/{gfm}/fetched.json",
        output:
            card=update(GFM_CARD),
            stamp=touch(f"weights/{STUDY.name}/{{gfm}}.converted"),
        log:
            f"results/logs/convert/{STUDY.name}/{{gfm}}.log",
        wildcard_constraints:
            gfm=one_of(PUBLISHED),
        conda:
            "../envs/deflect.yml"
        params:
            deflect=deflect,
            code=code_sha256("convert"),
        message:
            "convert and verify {wildcards.gfm}"
        shell:
            "({params.deflect} gfm convert {wildcards.gfm} && {params.deflect} gfm verify {wildcards.gfm}) &> {log}"
