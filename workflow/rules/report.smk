# Notebooks, tables, figures, the pages and the HTML report, all made from run records.


# One file that changes with any record, so that notebooks do not depend on thousands of files.
rule records:
    input:
        records=RECORDS,
        finished=FINISHED,
    output:
        index=INDEX,
    log:
        f"results/logs/records/{STUDY.name}.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
    message:
        "list the finished runs"
    shell:
        "{params.deflect} records &> {log}"


rule notebook_tables:
    input:
        index=INDEX,
        source=of_project("notebooks/tables.py"),
        references=of_project("references/paper.csv"),
        claims=of_project("references/claims.yaml"),
    output:
        notebook=f"{RESULTS}/notebooks/tables.ipynb",
        main=table("main"),
        ranks=table("ranks"),
        comparison=table("comparison"),
        claims=table("claims"),
    log:
        f"results/logs/notebooks/{STUDY.name}/tables.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("report"),
        grid=GRID,
    message:
        "execute notebook tables"
    shell:
        "{params.deflect} notebook tables &> {log}"


rule notebook_ablation:
    input:
        index=INDEX,
        source=of_project("notebooks/ablation.py"),
    output:
        notebook=f"{RESULTS}/notebooks/ablation.ipynb",
        ablation=table("ablation"),
        patch_embed=table("patch_embed"),
        tuned=table("tuned"),
    log:
        f"results/logs/notebooks/{STUDY.name}/ablation.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("report"),
        grid=GRID,
    message:
        "execute notebook ablation"
    shell:
        "{params.deflect} notebook ablation &> {log}"


rule notebook_sensitivity:
    input:
        index=INDEX,
        source=of_project("notebooks/sensitivity.py"),
        decisions=of_project("references/decisions.yaml"),
    output:
        notebook=f"{RESULTS}/notebooks/sensitivity.ipynb",
        sensitivity=table("sensitivity"),
    log:
        f"results/logs/notebooks/{STUDY.name}/sensitivity.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("report"),
        grid=GRID,
    message:
        "execute notebook sensitivity"
    shell:
        "{params.deflect} notebook sensitivity &> {log}"


rule notebook_parameter_efficiency:
    input:
        index=INDEX,
        source=of_project("notebooks/parameter_efficiency.py"),
    output:
        notebook=f"{RESULTS}/notebooks/parameter_efficiency.ipynb",
        parameter_efficiency=figure("parameter_efficiency"),
    log:
        f"results/logs/notebooks/{STUDY.name}/parameter_efficiency.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("report"),
        grid=GRID,
    message:
        "execute notebook parameter_efficiency"
    shell:
        "{params.deflect} notebook parameter_efficiency &> {log}"


rule notebook_panels:
    input:
        index=INDEX,
        source=of_project("notebooks/panels.py"),
    output:
        notebook=f"{RESULTS}/notebooks/panels.ipynb",
        parameter_efficiency_per_gfm=figure("parameter_efficiency_per_gfm"),
        parameter_efficiency_per_dataset=figure("parameter_efficiency_per_dataset"),
        cost=figure("cost"),
    log:
        f"results/logs/notebooks/{STUDY.name}/panels.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("report"),
        grid=GRID,
    message:
        "execute notebook panels"
    shell:
        "{params.deflect} notebook panels &> {log}"


rule notebook_qualitative:
    input:
        index=INDEX,
        source=of_project("notebooks/qualitative.py"),
        stores=expand(STORE, dataset=SEGMENTATION),
    output:
        notebook=f"{RESULTS}/notebooks/qualitative.ipynb",
        training_curves=figure("training_curves"),
        confusion_matrices=figure("confusion_matrices"),
        segmentation_maps=[
            figure(f"segmentation_maps_{dataset}", "segmentation")
            for dataset in SEGMENTATION
        ],
    log:
        f"results/logs/notebooks/{STUDY.name}/qualitative.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("report"),
        grid=GRID,
    message:
        "execute notebook qualitative"
    shell:
        "{params.deflect} notebook qualitative &> {log}"


rule notebook_inside_deflect:
    input:
        index=INDEX,
        source=of_project("notebooks/inside_deflect.py"),
    output:
        notebook=f"{RESULTS}/notebooks/inside_deflect.ipynb",
        inside_deflect=figure("inside_deflect"),
        inside_deflect_classes=figure("inside_deflect_classes"),
        index_importance=figure("index_importance"),
    log:
        f"results/logs/notebooks/{STUDY.name}/inside_deflect.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("report"),
        grid=GRID,
    message:
        "execute notebook inside_deflect"
    shell:
        "{params.deflect} notebook inside_deflect &> {log}"


rule notebook_statistics:
    input:
        index=INDEX,
        source=of_project("notebooks/statistics.py"),
    output:
        notebook=f"{RESULTS}/notebooks/statistics.ipynb",
        calibration=table("calibration"),
        reliability=figure("reliability"),
        error_overlap=figure("error_overlap"),
    log:
        f"results/logs/notebooks/{STUDY.name}/statistics.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("report"),
        grid=GRID,
    message:
        "execute notebook statistics"
    shell:
        "{params.deflect} notebook statistics &> {log}"


rule duplicates:
    input:
        store=STORE,
    output:
        found=DUPLICATES,
    log:
        f"results/logs/duplicates/{STUDY.name}/{{dataset}}.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("duplicates"),
    message:
        "look for near-duplicates between the splits of {wildcards.dataset}"
    shell:
        "{params.deflect} data duplicates {wildcards.dataset} &> {log}"


# Not part of `all`: a page to look at before training.
rule check_data:
    input:
        store=STORE,
    output:
        page=f"{RESULTS}/checks/{{dataset}}.html",
    log:
        f"results/logs/check_data/{STUDY.name}/{{dataset}}.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("check"),
    message:
        "check {wildcards.dataset}"
    shell:
        "{params.deflect} data check {wildcards.dataset} &> {log}"


if FEW_LABELS:

    rule notebook_few_labels:
        input:
            index=INDEX,
            source=of_project("notebooks/few_labels.py"),
        output:
            notebook=f"{RESULTS}/notebooks/few_labels.ipynb",
            few_labels=[*table("few_labels"), *figure("few_labels")],
        log:
            f"results/logs/notebooks/{STUDY.name}/few_labels.log",
        conda:
            "../envs/deflect.yml"
        params:
            deflect=deflect,
            code=code_sha256("report"),
            grid=GRID,
        message:
            "execute notebook few_labels"
        shell:
            "{params.deflect} notebook few_labels &> {log}"


rule summary:
    input:
        index=INDEX,
        duplicates=expand(DUPLICATES, dataset=prepared_datasets(STUDY)),
        references=of_project("references/paper.csv"),
        claims=of_project("references/claims.yaml"),
    output:
        page=shown(f"{RESULTS}/summary.html", "Summary"),
        metrics=f"{RESULTS}/metrics.json",
        averages=f"{RESULTS}/averages.csv",
    log:
        f"results/logs/summary/{STUDY.name}.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("report"),
        grid=GRID,
    message:
        "write the summary"
    shell:
        "{params.deflect} summary &> {log}"


rule explore:
    input:
        index=INDEX,
    output:
        page=shown(f"{RESULTS}/explore.html", "Summary"),
    log:
        f"results/logs/explore/{STUDY.name}.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("report"),
        grid=GRID,
    message:
        "write the page of all runs"
    shell:
        "{params.deflect} explore &> {log}"


rule results:
    input:
        rules.notebook_tables.output,
        rules.notebook_ablation.output,
        rules.notebook_sensitivity.output,
        rules.notebook_parameter_efficiency.output,
        rules.notebook_panels.output,
        rules.notebook_qualitative.output,
        rules.notebook_inside_deflect.output,
        rules.notebook_statistics.output,
        rules.notebook_few_labels.output if FEW_LABELS else [],
        rules.summary.output,
        rules.explore.output,


# Last, because it has the hash of every result.
rule crate:
    input:
        rules.results.input,
        index=INDEX,
        report=f"{RESULTS}/report.html",
        config=CONFIG_FILE,
    output:
        metadata=f"{RESULTS}/{CRATE_METADATA}",
    log:
        f"results/logs/crate/{STUDY.name}.log",
    conda:
        "../envs/deflect.yml"
    params:
        deflect=deflect,
        code=code_sha256("crate"),
        grid=GRID,
    message:
        "describe the results as an RO-Crate"
    shell:
        "{params.deflect} crate &> {log}"


# Snakemake writes the report. It is called with the same configuration, so that it finds all results finished.
rule report:
    input:
        rules.results.input,
        captions=sorted(of_project("workflow/report").glob("*.rst")),
    output:
        html=f"{RESULTS}/report.html",
    log:
        f"results/logs/report/{STUDY.name}.log",
    localrule: True
    conda:
        "../envs/deflect.yml"
    params:
        python=python,
        snakefile=of_project("Snakefile"),
        config=CONFIG_FILE,
        study=STUDY.name,
    message:
        "write {output.html}"
    shell:
        "{params.python} -m snakemake results --snakefile {params.snakefile:q} --configfile {params.config:q}"
        " --config study={params.study} --cores 1 --nolock --report {output.html} &> {log}"
