"""`hpckit doctor`."""

from __future__ import annotations

import click

_WORDS = {True: "ok", False: "warning", None: "-"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
@click.option(
    "--timeout", default=15.0, show_default=True, type=click.FloatRange(0.1), help="Seconds for all checks."
)
def doctor(as_json: bool, timeout: float) -> None:
    """Examine the environment: libraries, MPI, kernels, locale, space, limits, cluster.

    Exit code 1 if hpckit cannot work here; warnings do not change it.

    \b
    Example:
      hpckit doctor
      hpckit doctor --json > environment.json
    """
    import json
    from dataclasses import asdict

    from rich.markup import escape

    from hpckit.base.findings import failed
    from hpckit.cli.tables import print_out, table
    from hpckit.jobs.doctor.examine import examine

    findings = examine(timeout_s=timeout)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        made = table("", "what", "found", left=True)
        for finding in findings:
            word = "ERROR" if finding.needed and finding.ok is False else _WORDS[finding.ok]
            made.add_row(word, finding.what, escape(finding.says))
            if finding.ok is not True and finding.remedy:
                made.add_row("", "", escape(f"-> {finding.remedy}"))
        print_out(made)
    raise SystemExit(1 if failed(findings) else 0)
