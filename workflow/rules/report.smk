# Notebooks, tables, figures, the summary page and the HTML report: all from run records.

# One rule per notebook, so that asking for one figure runs one notebook.
for name in NOTEBOOKS:

    rule:
        name:
            f"notebook_{name}"
        input:
            records=MAIN_RECORDS + VARIANT_RECORDS + STAMPS,
            stores=stores(SEGMENTATION) if name == "qualitative" else [],
            notebook=of_project(f"notebooks/{name}.py"),
            references=of_project("references/paper.csv") if name == "tables" else [],
            code=ANALYSIS,
        output:
            **outputs_of(name),
        log:
            f"results/logs/notebooks/{STUDY.name}/{name}.log",
        conda:
            "../envs/deflect.yml"
        params:
            name=name,
            grid=grid(STUDY),
        shell:
            "python -m deflect notebook {params.name} &> {log}"


rule summary:
    input:
        records=MAIN_RECORDS + VARIANT_RECORDS + STAMPS,
        references=of_project("references/paper.csv"),
        code=ANALYSIS,
    output:
        page=report(
            f"{STUDY.results}/summary.html",
            caption="../report/summary.rst",
            category="Summary",
            labels={"name": "two-minute summary", "format": "html"},
        ),
        metrics=f"{STUDY.results}/metrics.json",
        averages=f"{STUDY.results}/averages.csv",
    log:
        f"results/logs/summary/{STUDY.name}.log",
    conda:
        "../envs/deflect.yml"
    params:
        grid=grid(STUDY),
    shell:
        "python -m deflect summary &> {log}"


rule results:
    input:
        RESULTS,


# Snakemake writes its own report; called for the finished results under this very configuration, it finds everything there.
rule report:
    input:
        RESULTS,
        captions=sorted(
            str(path) for path in Path(workflow.basedir).glob("workflow/report/*.rst")
        ),
    output:
        html=f"{STUDY.results}/report.html",
    log:
        f"results/logs/report/{STUDY.name}.log",
    localrule: True
    conda:
        "../envs/deflect.yml"
    shell:
        'python -m snakemake results -s "$DEFLECT_SOURCE/../Snakefile" --cores 1 --configfile <(printenv DEFLECT_CONFIG) --nolock --report {output.html} &> {log}'
